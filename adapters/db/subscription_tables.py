"""The tables of subscriptions: where each stands, what waits to be read, what was heard, who signs."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from adapters.db.tables import metadata

_moment = DateTime(timezone=True)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("subscription_id", Uuid, primary_key=True),
    Column("site", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("began_at", _moment, nullable=False),
    Column("watermark", _moment, nullable=False),
    Column("ehr_id", Text, nullable=False),
    Column("standing", Text, nullable=False),
    Column("highest", BigInteger),
    Column(
        "gaps", JSONB, nullable=False
    ),  # [first, last, found_at, given_up_at or null, told_by or null]
    Column("heard_at", _moment),
    Column("told_at", _moment),
    Column("queried_at", _moment),
    Column("read_at", _moment),
    Column("query_owed_since", _moment),
    Column("events_asked_at", _moment),
    Column("has_no_events", Boolean, nullable=False),
    Column("ends_at", _moment),
    Column("num_failures", Integer, nullable=False),
    Column("failure_code", Text, nullable=False),
    Column("rests_until", _moment),
    Column("error_codes", ARRAY(Text), nullable=False),
    Column("busy_until", _moment),  # while somebody asks the EHR for it
    UniqueConstraint("site", "name"),
)

# Records that were named and not sent: each once, gone when it was read.
unread_records = Table(
    "unread_records",
    metadata,
    Column("subscription_id", Uuid, ForeignKey("subscriptions.subscription_id"), primary_key=True),
    Column("record_type", Text, primary_key=True),
    Column("record_id", Text, primary_key=True),
    Column("delivery_id", Uuid, nullable=False),  # of the notification that named it last
    Column("due_at", _moment, nullable=False),
    Column("num_missed", Integer, nullable=False, server_default=text("0")),
    Index(None, "subscription_id", "due_at"),
)

heard_events = Table(
    "heard_events",
    metadata,
    Column("subscription_id", Uuid, ForeignKey("subscriptions.subscription_id"), primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("heard_at", _moment, nullable=False),
    Index(None, "heard_at"),
)

hub_secrets = Table(
    "hub_secrets",
    metadata,
    Column("subscription_id", Uuid, primary_key=True),
    Column("secret", LargeBinary, primary_key=True),
    Column("learned_at", _moment, nullable=False),
)
