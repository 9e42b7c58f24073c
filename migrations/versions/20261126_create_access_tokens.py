"""Tokens for programs; the request that work goes back to; audit entries in the order of time."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("messages", sa.Column("request_id", sa.Text(), nullable=True))
    op.create_index("ix_audit_entries_at_entry_id", "audit_entries", ["at", "entry_id"])
    op.create_table(
        "access_tokens",
        sa.Column("token_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("issued_by", sa.Text(), nullable=False),
        sa.Column("issued_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("revoked_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["name"], ["clinicians.name"], name=op.f("fk_access_tokens_name")),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_access_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_access_tokens_digest")),
    )


def downgrade() -> None:
    op.drop_table("access_tokens")
    op.drop_index("ix_audit_entries_at_entry_id", "audit_entries")
    op.drop_column("messages", "request_id")
