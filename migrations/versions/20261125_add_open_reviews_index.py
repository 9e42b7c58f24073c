"""The open reviews in the order of the worklist."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_reviews_open",
        "reviews",
        [sa.literal_column("priority DESC"), "review_id"],
        postgresql_where=sa.text("state IN ('queued', 'claimed')"),
    )


def downgrade() -> None:
    op.drop_index("ix_reviews_open", table_name="reviews")
