"""The tables of what was taken back: deleted records, merged patients, predictions gone stale.

All are written once; rows go only with a patient who is erased.
"""

from sqlalchemy import Boolean, Column, DateTime, ForeignKey, Index, Table, Text, Uuid

from adapters.db.tables import metadata

_moment = DateTime(timezone=True)

# Kept also where no such record is held: it acts should the record come later.
deleted_records = Table(
    "deleted_records",
    metadata,
    Column("site", Text, primary_key=True),
    Column("record_type", Text, primary_key=True),
    Column("record_id", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("updated_at", _moment),
    Column("received_at", _moment, nullable=False),
    Column("delivery_id", Uuid, nullable=False),
    Index(None, "delivery_id"),
)

patient_merges = Table(
    "patient_merges",
    metadata,
    Column("gone_id", Uuid, primary_key=True),
    Column("kept_id", Uuid, primary_key=True),
    Column("says", Text, primary_key=True),
    Column("said_by", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("lapses", Boolean, nullable=False),
    Column("updated_at", _moment),
    Column("received_at", _moment, nullable=False),
    Column("delivery_id", Uuid, nullable=False),
    Index(None, "kept_id"),
)

stale_marks = Table(
    "stale_marks",
    metadata,
    Column("prediction_id", Uuid, ForeignKey("predictions.prediction_id"), primary_key=True),
    Column("delivery_id", Uuid, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("since", _moment, nullable=False),
)
