"""What was received, what of it was not understood, and the work owed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "deliveries",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("door", sa.Text(), nullable=False),
        sa.Column("sender_id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("context", postgresql.JSONB(), nullable=False),
        sa.Column("received_at", _MOMENT, nullable=False),
        sa.Column("recorded_at", _MOMENT, nullable=True),
        sa.Column("num_events", sa.Integer(), nullable=True),
        sa.Column("counts", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "site", "door", "sender_id", name=op.f("uq_deliveries_site_door_sender_id")
        ),
    )
    op.create_table(
        "quarantine",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("record_type", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.delivery_id"], name=op.f("fk_quarantine_delivery_id")
        ),
        sa.PrimaryKeyConstraint(
            "delivery_id", "position", "reason_code", "digest", name=op.f("pk_quarantine")
        ),
    )
    op.create_table(
        "messages",
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(), nullable=False),
        sa.Column("coalesce_key", sa.Text(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'waiting'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("leased_until", _MOMENT, nullable=True),
        sa.Column("fence", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error_code", sa.Text(), nullable=True),
        sa.Column("finished_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_messages")),
    )
    op.create_index(
        "ix_messages_due_at_owed",
        "messages",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('waiting', 'started')"),
    )
    op.create_index(
        "uq_messages_coalesce_key_waiting",
        "messages",
        ["coalesce_key"],
        unique=True,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    # Bodies are JSON: lz4 where the server has it; the slower default compression is not worth its time.
    op.execute(
        """
        DO $$ BEGIN
            ALTER TABLE deliveries ALTER COLUMN body SET COMPRESSION lz4;
        EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN
            ALTER TABLE deliveries ALTER COLUMN body SET STORAGE EXTERNAL;
        END $$
        """
    )


def downgrade() -> None:
    op.drop_table("messages")
    op.drop_table("quarantine")
    op.drop_table("deliveries")
