"""Who works and how it goes; in which trace work was owed; given-up messages found without a scan."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worker_heartbeats",
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column(
            "heard_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("relay_trouble", sa.Text(), nullable=False),
        sa.Column("num_unsequenced", sa.Integer(), nullable=False),
        sa.Column("oldest_unsequenced_seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("worker", name=op.f("pk_worker_heartbeats")),
    )
    op.add_column("messages", sa.Column("trace", sa.Text(), nullable=True))
    op.create_index(
        "ix_messages_given_up",
        "messages",
        ["finished_at"],
        postgresql_where=sa.text("state = 'given_up'"),
    )


def downgrade() -> None:
    op.drop_index("ix_messages_given_up", "messages")
    op.drop_column("messages", "trace")
    op.drop_table("worker_heartbeats")
