"""What we ask an EHR for: bulk jobs, their files, and the watermarks of polls."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "bulk_jobs",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("status_url", sa.Text(), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
        sa.Column("begun_at", _MOMENT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("transaction_time", sa.Text(), nullable=False),
        sa.Column("needs_token", sa.Boolean(), nullable=False),
        sa.Column("expires_at", _MOMENT),
        sa.Column("ended_at", _MOMENT),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_bulk_jobs")),
    )
    op.create_index(
        "uq_bulk_jobs_site_scope_under_way",
        "bulk_jobs",
        ["site", "scope"],
        unique=True,
        postgresql_where=sa.text("state IN ('running', 'listed')"),
    )
    op.create_index(
        op.f("ix_bulk_jobs_site_scope_ended_at"), "bulk_jobs", ["site", "scope", "ended_at"]
    )
    op.create_table(
        "bulk_files",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("record_type", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger()),
        sa.Column("num_lines", sa.BigInteger(), nullable=False),
        sa.Column("prefix_digest", sa.Text(), nullable=False),
        sa.Column("is_done", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["bulk_jobs.job_id"], name=op.f("fk_bulk_files_job_id")
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_bulk_files")),
    )
    op.create_table(
        "polls",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("record_type", sa.Text(), nullable=False),
        sa.Column("watermark", _MOMENT),
        sa.Column("begun_at", _MOMENT),
        sa.Column("due_at", _MOMENT),
        sa.Column("leased_until", _MOMENT),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("last_error_code", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "record_type", name=op.f("pk_polls")),
    )


def downgrade() -> None:
    op.drop_table("polls")
    op.drop_table("bulk_files")
    op.drop_table("bulk_jobs")
