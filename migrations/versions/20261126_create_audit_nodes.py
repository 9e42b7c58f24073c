"""The inner nodes of the audit log's tree: a proof then reads some dozens of hashes, not every leaf."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ROWS_AT_ONCE = 5000


def upgrade() -> None:
    nodes = op.create_table(
        "audit_nodes",
        sa.Column("height", sa.SmallInteger(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("height", "place", name=op.f("pk_audit_nodes")),
    )
    _fill(nodes)
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_nodes"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def _fill(nodes: sa.Table) -> None:
    """From the leaves of logs that are older than this table."""
    connection, peaks, rows = op.get_bind(), list[tuple[int, bytes]](), list[dict[str, object]]()
    query = sa.text("SELECT leaf_index, leaf_hash FROM audit_leaves ORDER BY leaf_index")
    for index, leaf in connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)):
        height, value = 0, bytes(leaf)
        while peaks and peaks[-1][0] == height:
            value = hashlib.sha256(b"\x01" + peaks.pop()[1] + value).digest()
            height += 1
            rows.append({"height": height, "place": index >> height, "hash": value})
        peaks.append((height, value))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        connection.execute(nodes.insert(), rows[start : start + _ROWS_AT_ONCE])


def downgrade() -> None:
    op.drop_table("audit_nodes")
