"""The tables, as SQLAlchemy Core metadata: the target of every migration.

Knows columns, keys and indexes. Does not know domain objects: each repository maps its own. Triggers
live in the migrations alone. Events carry no foreign keys: checking them would halve bulk import,
and a reading brings its patients along.
"""

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_moment = DateTime(timezone=True)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", Uuid, primary_key=True),
    Column("site", Text, nullable=False),
    Column("door", Text, nullable=False),
    Column("sender_id", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("digest", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("context", JSONB, nullable=False),
    Column("received_at", _moment, nullable=False),
    Column("recorded_at", _moment),
    Column("num_events", Integer),
    Column("counts", JSONB),
    Column("erased_at", _moment),
    UniqueConstraint("site", "door", "sender_id"),
    Index(
        "ix_deliveries_received_at_unrecorded",
        "received_at",
        postgresql_where=text("recorded_at IS NULL"),
    ),
)

# Whom a delivery told of, also where all of it was known already.
delivery_patients = Table(
    "delivery_patients",
    metadata,
    Column("delivery_id", Uuid, ForeignKey("deliveries.delivery_id"), primary_key=True),
    Column("patient_id", Uuid, primary_key=True),
    Index(None, "patient_id"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("delivery_id", Uuid, ForeignKey("deliveries.delivery_id"), primary_key=True),
    Column("position", Text, primary_key=True),
    Column("reason_code", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("record_type", Text, nullable=False),
    Column("record_id", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at", _moment, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("message_id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject_id", Uuid, nullable=False),
    Column("parameters", JSONB, nullable=False),
    Column("coalesce_key", Text, nullable=False),
    Column("created_at", _moment, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("due_at", _moment, nullable=False),
    Column("leased_until", _moment),
    Column("fence", Integer, nullable=False, server_default=text("0")),
    Column("last_error_code", Text),
    Column("finished_at", _moment),
    Column("priority", SmallInteger, nullable=False, server_default=text("0")),
    # Whether whoever has the lease is at work; else the id only lies in the broker.
    Column("is_held", Boolean, nullable=False, server_default=text("false")),
    Column("trace", Text),  # in which it was owed: a W3C traceparent, where traces are kept
    Column("request_id", Text),  # of the request that it goes back to, however many messages ago
    # One unstarted message per key; done ones may pile up.
    Index(
        "uq_messages_coalesce_key_waiting",
        "coalesce_key",
        unique=True,
        postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "ix_messages_priority_due_at_owed",
        "priority",
        "due_at",
        postgresql_where=text("state IN ('waiting', 'started')"),
    ),
    # What is owed, or once was, to a delivery or a decision; done ones of the many kinds are left out.
    Index(
        "ix_messages_subject_id_unsettled",
        "subject_id",
        postgresql_where=text("state <> 'done' OR kind = 'review.write_back'"),
    ),
    Index("ix_messages_given_up", "finished_at", postgresql_where=text("state = 'given_up'")),
)

# What the broker would not deliver any more: which bytes and why, never the bytes.
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("message_id", Uuid),
    Column("num_bytes", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("first_at", _moment, nullable=False),
    Column("last_at", _moment, nullable=False),
    Index(None, "message_id"),
)

# One row a worker, written over every few seconds: what a web process can know of the workers.
worker_heartbeats = Table(
    "worker_heartbeats",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("heard_at", _moment, nullable=False, server_default=text("now()")),
    Column("relay_trouble", Text, nullable=False),
    Column("num_unsequenced", Integer, nullable=False),
    Column("oldest_unsequenced_seconds", Double, nullable=False),
)

patients = Table(
    "patients",
    metadata,
    Column("patient_id", Uuid, primary_key=True),
    Column("site", Text, nullable=False),
    Column("record_id", Text, nullable=False),
    UniqueConstraint("site", "record_id"),
)

events = Table(
    "events",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("patient_id", Uuid, nullable=False),
    Column("available_at", _moment, nullable=False),
    Column("received_at", _moment, nullable=False),
    Column("recorded_at", _moment),
    Column("occurred_earliest", _moment),
    Column("occurred_latest", _moment),
    Column("occurred_precision", Text),
    Column("occurred_text", Text),
    Column("kind", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("standing", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("part", Text, nullable=False),
    Column("code_system", Text, nullable=False),
    Column("code_value", Text, nullable=False),
    Column("code_display", Text, nullable=False),
    Column("value_number", Numeric),
    Column("value_unit", Text),
    Column("value_unit_text", Text),
    Column("value_comparator", Text),
    Column("value_text", Text),
    Column("value_other", JSONB),
    Column("other_codes", JSONB),
    Column("status", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("encounter", Text, nullable=False),
    Column("absent_reason", Text, nullable=False),
    Column("flags", ARRAY(Text)),
    Column("site", Text, nullable=False),
    Column("record_type", Text, nullable=False),
    Column("record_id", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("delivery_id", Uuid, nullable=False),
    Column("updated_at", _moment),
    Index(None, "patient_id", "available_at"),
    # Whether a record that comes is held already, and who has one that is recalled.
    Index("ix_events_record_id", "record_id", postgresql_using="hash"),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("manifest_digest", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("vocabulary_digest", Text, nullable=False),
    Column("registered_at", _moment, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'registered'")),
    Column("num_steps", Integer, nullable=False, server_default=text("1")),
    Column("proposed_by", Text),
    Column("stopped_at", _moment),
    Column("stopped_by", Text),
    Column("stop_concern", Text),
    Column("stop_note", Text),
)

model_history = Table(
    "model_history",
    metadata,
    Column("manifest_digest", Text, ForeignKey("model_versions.manifest_digest"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("move", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", _moment, nullable=False),
    Column("concern", Text),
    Column("note", Text, nullable=False),
)

predictions = Table(
    "predictions",
    metadata,
    Column("prediction_id", Uuid, primary_key=True),
    Column("patient_id", Uuid, nullable=False),
    Column("as_of", _moment, nullable=False),
    Column("received_by", _moment, nullable=False),
    Column("made_at", _moment, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("request", JSONB, nullable=False),  # horizons, actions, seed
    Column("input_digest", Text, nullable=False),
    Column("config_digest", Text, nullable=False),
    Column("manifest_digest", Text, ForeignKey("model_versions.manifest_digest"), nullable=False),
    Column("capsule", JSONB, nullable=False),  # the rest of it
    Column("trajectory", JSONB),  # horizons, width, spread
    Column("latents", LargeBinary),
    Column("state", LargeBinary),
    Column("readouts", JSONB, nullable=False),
    Column("abstention_reason", Text),
    Column("abstention_detail", Text),
    Column("familiarity", Double),
    Column("unseen_code_share", Double, nullable=False),
    Column("output_digest", Text, nullable=False),
    UniqueConstraint(
        "patient_id",
        "input_digest",
        "manifest_digest",
        "config_digest",
        "purpose",
        name="uq_predictions_question",
    ),
    Index(None, "made_at", "prediction_id"),
    # All that a recall counts, so that it need not read the predictions themselves.
    Index("ix_predictions_manifest_digest", "manifest_digest", "prediction_id", "patient_id"),
)

# One per prediction: similar patients are told by what followed, and after the newest state
# nothing has followed yet. Scanned exactly: the vectors of one model are few and short.
patient_states = Table(
    "patient_states",
    metadata,
    Column("patient_id", Uuid, nullable=False),
    Column("manifest_digest", Text, ForeignKey("model_versions.manifest_digest"), nullable=False),
    Column("prediction_id", Uuid, ForeignKey("predictions.prediction_id"), primary_key=True),
    Column("as_of", _moment, nullable=False),
    Column("state", VECTOR(), nullable=False),
    Index(None, "manifest_digest"),
)

# Where a reading of a patient's timeline can be taken up again; a few per patient.
patient_memories = Table(
    "patient_memories",
    metadata,
    Column(
        "patient_id", Uuid, ForeignKey("patients.patient_id", ondelete="CASCADE"), primary_key=True
    ),
    Column("manifest_digest", Text, ForeignKey("model_versions.manifest_digest"), primary_key=True),
    Column("num_blocks", Integer, primary_key=True, autoincrement=False),
    Column("num_events", Integer, nullable=False),
    Column("prefix_digest", Text, nullable=False),  # of exactly the events that were read
    Column("known_until", _moment, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("torch_version", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("data_digest", Text, nullable=False),
)

reviews = Table(
    "reviews",
    metadata,
    Column("review_id", Uuid, primary_key=True),
    Column("prediction_id", Uuid, ForeignKey("predictions.prediction_id"), nullable=False),
    Column("patient_id", Uuid, nullable=False),
    Column("priority", Double, nullable=False),
    Column("opened_at", _moment, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("claimed_by", Text),
    Column("claimed_until", _moment),
    Column("closed_at", _moment),
    Column("closed_reason", Text, nullable=False),
    Index("ix_reviews_worklist", "state", text("priority DESC"), "review_id"),
    # The everyday worklist asks for both open states in one order.
    Index(
        "ix_reviews_open",
        text("priority DESC"),
        "review_id",
        postgresql_where=text("state IN ('queued', 'claimed')"),
    ),
    Index(None, "patient_id"),
    Index(None, "prediction_id"),
)

# `question`, `options` and `excluded` are json, not jsonb: their numbers come back as the same bits.
plan_comparisons = Table(
    "plan_comparisons",
    metadata,
    Column("comparison_id", Uuid, primary_key=True),
    Column("review_id", Uuid, ForeignKey("reviews.review_id"), nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("made_at", _moment, nullable=False),
    Column("question", JSON, nullable=False),
    Column("input_digest", Text, nullable=False),
    Column("config_digest", Text, nullable=False),
    Column("manifest_digest", Text, ForeignKey("model_versions.manifest_digest"), nullable=False),
    Column("capsule", JSON, nullable=False),
    Column("options", JSON, nullable=False),
    Column("excluded", JSON, nullable=False),
    Column("abstention_reason", Text),
    Column("abstention_detail", Text),
    Column("num_considered", Integer, nullable=False),
    Column("output_digest", Text, nullable=False),
    Index(None, "review_id", "made_at"),
    Index(None, "manifest_digest"),
)

recalls = Table(
    "recalls",
    metadata,
    Column("recall_id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("concern", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", _moment, nullable=False),
    Column("patient_id", Uuid),  # whose record was recalled
    UniqueConstraint("kind", "target"),
)

# Signed reviews to be looked at again, and that somebody has. No foreign key to the review: that it
# was recalled stays known, also when the patient's rows are gone.
relooks = Table(
    "relooks",
    metadata,
    Column("review_id", Uuid, primary_key=True),
    Column("recall_id", Uuid, ForeignKey("recalls.recall_id"), primary_key=True),
    Column("asked_at", _moment, nullable=False),
)

second_looks = Table(
    "second_looks",
    metadata,
    Column("review_id", Uuid, primary_key=True),
    Column("recall_id", Uuid, ForeignKey("recalls.recall_id"), primary_key=True),
    Column("looked_by", Text, nullable=False),
    Column("looked_at", _moment, nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", Uuid, primary_key=True),
    Column("review_id", Uuid, ForeignKey("reviews.review_id"), nullable=False, unique=True),
    Column("verdict", Text, nullable=False),
    Column("reasons", ARRAY(Text), nullable=False),
    Column("note", Text, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("decided_at", _moment, nullable=False),
    Column("prediction_digest", Text, nullable=False),
    Index(None, "decided_at", "review_id"),
)

# What the EHR was told, by the id that it gave it.
write_backs = Table(
    "write_backs",
    metadata,
    Column("review_id", Uuid, ForeignKey("reviews.review_id"), primary_key=True),
    Column("ehr_id", Text, nullable=False),
    Column("told_at", _moment, nullable=False),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("entry_id", Uuid, primary_key=True),
    Column("at", _moment, nullable=False),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("refs", JSONB, nullable=False),
    Column("request_id", Text, nullable=False),
    Index(
        "ix_audit_entries_refs",
        "refs",
        postgresql_using="gin",
        postgresql_ops={"refs": "jsonb_path_ops"},
    ),
    # Who read what a recall found.
    Index(
        "ix_audit_entries_read",
        text("(refs ->> 'review')"),
        "actor",
        postgresql_where=text("kind = 'review.read.v1'"),
    ),
    # Exports and searches go through the log in the order of time.
    Index("ix_audit_entries_at_entry_id", "at", "entry_id"),
)

# Filled by a trigger with every entry and emptied by the sequencer: finding what has no leaf yet
# costs what is owed, not the length of the log. `xid` is the transaction that wrote the entry: at its
# commit, triggers look here for the entries of the rows that it wrote.
audit_pending = Table(
    "audit_pending",
    metadata,
    Column("entry_id", Uuid, ForeignKey("audit_entries.entry_id"), primary_key=True),
    Column(
        "xid",
        BigInteger,
        nullable=False,
        server_default=text("(pg_current_xact_id()::text)::bigint"),
    ),
    Index(None, "xid"),
)

# The salts behind the commitments in entries; who erases a payload erases its salt.
audit_openings = Table(
    "audit_openings",
    metadata,
    Column("entry_id", Uuid, ForeignKey("audit_entries.entry_id"), primary_key=True),
    Column("salt", LargeBinary, nullable=False),
)

audit_leaves = Table(
    "audit_leaves",
    metadata,
    Column("leaf_index", BigInteger, primary_key=True, autoincrement=False),
    Column("entry_id", Uuid, ForeignKey("audit_entries.entry_id"), nullable=False, unique=True),
    Column("leaf_hash", LargeBinary, nullable=False),
)

# The perfect subtrees above the leaves: what proofs are made of.
audit_nodes = Table(
    "audit_nodes",
    metadata,
    Column("height", SmallInteger, primary_key=True, autoincrement=False),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("at", _moment, nullable=False),
    Column("peak_heights", ARRAY(SmallInteger), nullable=False),
    Column("peak_hashes", ARRAY(LargeBinary), nullable=False),
)

audit_signatures = Table(
    "audit_signatures",
    metadata,
    Column(
        "size", BigInteger, ForeignKey("audit_heads.size"), primary_key=True, autoincrement=False
    ),
    Column("name", Text, primary_key=True),
    Column("key_id", LargeBinary, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("at", _moment, nullable=False),
)

clinicians = Table(
    "clinicians",
    metadata,
    Column("name", Text, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("password", Text, nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
)

# Tables in files of their own; whoever reads `metadata` sees them all.
from adapters.db import token_tables  # noqa: E402, F401
