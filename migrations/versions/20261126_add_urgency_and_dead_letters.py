"""How urgent a message is and whether a worker is at it; what the broker would not deliver any more."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0013"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_IS_OWED = sa.text("state IN ('waiting', 'started')")


def upgrade() -> None:
    op.add_column(
        "messages",
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column(
        "messages",
        sa.Column("is_held", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.drop_index("ix_messages_due_at_owed", table_name="messages")
    op.create_index(
        "ix_messages_priority_due_at_owed",
        "messages",
        ["priority", "due_at"],
        unique=False,
        postgresql_where=_IS_OWED,
    )
    op.create_index(
        "ix_messages_subject_id_unsettled",
        "messages",
        ["subject_id"],
        unique=False,
        postgresql_where=sa.text("state <> 'done' OR kind = 'review.write_back'"),
    )
    op.create_index(
        "ix_deliveries_received_at_unrecorded",
        "deliveries",
        ["received_at"],
        unique=False,
        postgresql_where=sa.text("recorded_at IS NULL"),
    )
    op.create_table(
        "dead_letters",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column("num_bytes", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", _MOMENT, nullable=False),
        sa.Column("last_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_dead_letters")),
    )
    op.create_index(
        op.f("ix_dead_letters_message_id"), "dead_letters", ["message_id"], unique=False
    )


def downgrade() -> None:
    op.drop_table("dead_letters")
    op.drop_index("ix_deliveries_received_at_unrecorded", table_name="deliveries")
    op.drop_index("ix_messages_subject_id_unsettled", table_name="messages")
    op.drop_index("ix_messages_priority_due_at_owed", table_name="messages")
    op.create_index(
        "ix_messages_due_at_owed", "messages", ["due_at"], unique=False, postgresql_where=_IS_OWED
    )
    op.drop_column("messages", "is_held")
    op.drop_column("messages", "priority")
