"""What goes out: notes that are coded elsewhere, webhooks that are sent, endpoints that are gone."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "note_jobs",
        sa.Column("note_id", sa.Uuid(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("note_id", name=op.f("pk_note_jobs")),
    )
    op.create_index(op.f("ix_note_jobs_site_job_id"), "note_jobs", ["site", "job_id"])
    op.create_table(
        "webhook_sends",
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("owed_since", _MOMENT, nullable=False),
        sa.Column("num_failures", sa.Integer(), nullable=False),
        sa.Column("last_status", sa.Integer(), nullable=False),
        sa.Column("last_at", _MOMENT, nullable=False),
        sa.Column("is_delivered", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_webhook_sends")),
    )
    op.create_index("ix_webhook_sends_endpoint", "webhook_sends", ["site", "endpoint", "last_at"])
    op.create_table(
        "webhook_endpoints",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("disabled_at", _MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("site", "endpoint", name=op.f("pk_webhook_endpoints")),
    )


def downgrade() -> None:
    for table in ("webhook_endpoints", "webhook_sends", "note_jobs"):
        op.drop_table(table)
