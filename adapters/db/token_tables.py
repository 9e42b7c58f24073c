"""The table of access tokens, beside the others in `tables.py`."""

from sqlalchemy import Column, DateTime, ForeignKey, Table, Text, Uuid

from adapters.db.tables import metadata

# Of a token only its digest is kept: it is shown once, when it is issued.
access_tokens = Table(
    "access_tokens",
    metadata,
    Column("token_id", Uuid, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("name", Text, ForeignKey("clinicians.name"), nullable=False),
    Column("issued_by", Text, nullable=False),
    Column("issued_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
)
