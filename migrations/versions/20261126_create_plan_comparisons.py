"""Comparisons of plans: what was asked of the model about a review, by whom, and what it answered."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "plan_comparisons",
        sa.Column("comparison_id", sa.Uuid(), nullable=False),
        sa.Column("review_id", sa.Uuid(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("question", postgresql.JSON(), nullable=False),
        sa.Column("input_digest", sa.Text(), nullable=False),
        sa.Column("config_digest", sa.Text(), nullable=False),
        sa.Column("manifest_digest", sa.Text(), nullable=False),
        sa.Column("capsule", postgresql.JSON(), nullable=False),
        sa.Column("options", postgresql.JSON(), nullable=False),
        sa.Column("excluded", postgresql.JSON(), nullable=False),
        sa.Column("abstention_reason", sa.Text()),
        sa.Column("abstention_detail", sa.Text()),
        sa.Column("num_considered", sa.Integer(), nullable=False),
        sa.Column("output_digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["review_id"], ["reviews.review_id"], name=op.f("fk_plan_comparisons_review_id")
        ),
        sa.ForeignKeyConstraint(
            ["manifest_digest"],
            ["model_versions.manifest_digest"],
            name=op.f("fk_plan_comparisons_manifest_digest"),
        ),
        sa.PrimaryKeyConstraint("comparison_id", name=op.f("pk_plan_comparisons")),
    )
    op.create_index(
        op.f("ix_plan_comparisons_review_id_made_at"), "plan_comparisons", ["review_id", "made_at"]
    )


def downgrade() -> None:
    op.drop_table("plan_comparisons")
