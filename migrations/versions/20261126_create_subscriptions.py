"""Where each subscription stands, what waits to be read for it, what was heard, and who signs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("began_at", _MOMENT, nullable=False),
        sa.Column("watermark", _MOMENT, nullable=False),
        sa.Column("ehr_id", sa.Text(), nullable=False),
        sa.Column("standing", sa.Text(), nullable=False),
        sa.Column("highest", sa.BigInteger(), nullable=True),
        sa.Column("gaps", postgresql.JSONB(), nullable=False),
        sa.Column("heard_at", _MOMENT, nullable=True),
        sa.Column("told_at", _MOMENT, nullable=True),
        sa.Column("queried_at", _MOMENT, nullable=True),
        sa.Column("read_at", _MOMENT, nullable=True),
        sa.Column("query_owed_since", _MOMENT, nullable=True),
        sa.Column("events_asked_at", _MOMENT, nullable=True),
        sa.Column("has_no_events", sa.Boolean(), nullable=False),
        sa.Column("ends_at", _MOMENT, nullable=True),
        sa.Column("num_failures", sa.Integer(), nullable=False),
        sa.Column("failure_code", sa.Text(), nullable=False),
        sa.Column("rests_until", _MOMENT, nullable=True),
        sa.Column("error_codes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("busy_until", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("subscription_id", name=op.f("pk_subscriptions")),
        sa.UniqueConstraint("site", "name", name=op.f("uq_subscriptions_site_name")),
    )
    op.create_table(
        "unread_records",
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("record_type", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("num_missed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.subscription_id"],
            name=op.f("fk_unread_records_subscription_id"),
        ),
        sa.PrimaryKeyConstraint(
            "subscription_id", "record_type", "record_id", name=op.f("pk_unread_records")
        ),
    )
    op.create_index(
        op.f("ix_unread_records_subscription_id_due_at"),
        "unread_records",
        ["subscription_id", "due_at"],
    )
    op.create_table(
        "heard_events",
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("heard_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.subscription_id"],
            name=op.f("fk_heard_events_subscription_id"),
        ),
        sa.PrimaryKeyConstraint("subscription_id", "event_id", name=op.f("pk_heard_events")),
    )
    op.create_index(op.f("ix_heard_events_heard_at"), "heard_events", ["heard_at"])
    op.create_table(
        "hub_secrets",
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("learned_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("subscription_id", "secret", name=op.f("pk_hub_secrets")),
    )


def downgrade() -> None:
    for table in ("hub_secrets", "heard_events", "unread_records", "subscriptions"):
        op.drop_table(table)
