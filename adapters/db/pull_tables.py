"""The tables of what we ask an EHR for: bulk jobs, their files, and the watermarks of polls."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)

from adapters.db.tables import metadata

_moment = DateTime(timezone=True)

bulk_jobs = Table(
    "bulk_jobs",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("site", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("status_url", Text, nullable=False),
    Column("since", Text, nullable=False),
    Column("begun_at", _moment, nullable=False),
    Column("state", Text, nullable=False),
    # In the EHR's own words: it goes back to the EHR.
    Column("transaction_time", Text, nullable=False),
    Column("needs_token", Boolean, nullable=False),
    Column("expires_at", _moment),
    Column("ended_at", _moment),
    # One job at a time for the same question.
    Index(
        "uq_bulk_jobs_site_scope_under_way",
        "site",
        "scope",
        unique=True,
        postgresql_where=text("state IN ('running', 'listed')"),
    ),
    Index(None, "site", "scope", "ended_at"),
)

bulk_files = Table(
    "bulk_files",
    metadata,
    Column("job_id", Uuid, ForeignKey("bulk_jobs.job_id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("record_type", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("count", BigInteger),
    Column("num_lines", BigInteger, nullable=False),
    Column("prefix_digest", Text, nullable=False),
    Column("is_done", Boolean, nullable=False),
)

polls = Table(
    "polls",
    metadata,
    Column("site", Text, primary_key=True),
    Column("record_type", Text, primary_key=True),
    Column("watermark", _moment),
    Column("begun_at", _moment),
    Column("due_at", _moment),
    Column("leased_until", _moment),
    Column("fence", Integer, nullable=False),
    Column("last_error_code", Text, nullable=False),
)
