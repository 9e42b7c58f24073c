"""The tables of what goes out: notes that are coded elsewhere, and webhooks to those who registered."""

from sqlalchemy import Boolean, Column, DateTime, Index, Integer, Table, Text, Uuid, text

from adapters.db.tables import metadata

_moment = DateTime(timezone=True)

note_jobs = Table(
    "note_jobs",
    metadata,
    Column("note_id", Uuid, primary_key=True),  # of its delivery
    Column("site", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Index(None, "site", "job_id"),
)

# One row a message of kind `webhook.send`: what was tried since it was owed, or redriven.
webhook_sends = Table(
    "webhook_sends",
    metadata,
    Column("message_id", Uuid, primary_key=True),
    Column("entry_id", Uuid, nullable=False),  # of the audit entry that it tells of
    Column("site", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("owed_since", _moment, nullable=False),
    Column("num_failures", Integer, nullable=False),
    Column("last_status", Integer, nullable=False),  # HTTP's; 0: no answer
    Column("last_at", _moment, nullable=False),
    Column("is_delivered", Boolean, nullable=False),
    Index("ix_webhook_sends_endpoint", "site", "endpoint", "last_at"),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("site", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("disabled_at", _moment, nullable=False, server_default=text("now()")),
)
