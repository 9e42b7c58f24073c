"""The model registry with its history, recalls with what is to be looked at again, and their indexes."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_APPEND_ONLY = ("model_history", "relooks", "second_looks")


def upgrade() -> None:
    _create_registry()
    _create_recalls()
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    _create_indexes()


def _create_registry() -> None:
    for column in (
        sa.Column("state", sa.Text(), nullable=False, server_default=sa.text("'registered'")),
        sa.Column("num_steps", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("proposed_by", sa.Text()),
        sa.Column("stopped_at", _MOMENT),
        sa.Column("stopped_by", sa.Text()),
        sa.Column("stop_concern", sa.Text()),
        sa.Column("stop_note", sa.Text()),
    ):
        op.add_column("model_versions", column)
    op.create_table(
        "model_history",
        sa.Column("manifest_digest", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("move", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("concern", sa.Text()),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_digest"],
            ["model_versions.manifest_digest"],
            name=op.f("fk_model_history_manifest_digest"),
        ),
        sa.PrimaryKeyConstraint("manifest_digest", "number", name=op.f("pk_model_history")),
    )


def _create_recalls() -> None:
    op.create_table(
        "recalls",
        sa.Column("recall_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("concern", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("patient_id", sa.Uuid()),
        sa.PrimaryKeyConstraint("recall_id", name=op.f("pk_recalls")),
        sa.UniqueConstraint("kind", "target", name=op.f("uq_recalls_kind_target")),
    )
    _create_marks("relooks", sa.Column("asked_at", _MOMENT, nullable=False))
    _create_marks(
        "second_looks",
        sa.Column("looked_by", sa.Text(), nullable=False),
        sa.Column("looked_at", _MOMENT, nullable=False),
    )


def _create_marks(table: str, *columns: sa.Column[object]) -> None:
    op.create_table(
        table,
        sa.Column("review_id", sa.Uuid(), nullable=False),
        sa.Column("recall_id", sa.Uuid(), nullable=False),
        *columns,
        sa.ForeignKeyConstraint(
            ["recall_id"], ["recalls.recall_id"], name=op.f(f"fk_{table}_recall_id")
        ),
        sa.PrimaryKeyConstraint("review_id", "recall_id", name=op.f(f"pk_{table}")),
    )


def _create_indexes() -> None:
    op.create_index(
        "ix_events_record_id",
        "events",
        ["record_id"],
        postgresql_using="brin",
        postgresql_ops={"record_id": "text_bloom_ops"},
        postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
    )
    op.drop_index("ix_predictions_manifest_digest", "predictions")
    op.create_index(
        "ix_predictions_manifest_digest",
        "predictions",
        ["manifest_digest", "prediction_id", "patient_id"],
    )
    op.create_index(
        op.f("ix_decisions_decided_at_review_id"), "decisions", ["decided_at", "review_id"]
    )
    op.create_index(
        op.f("ix_plan_comparisons_manifest_digest"), "plan_comparisons", ["manifest_digest"]
    )
    op.create_index(
        "ix_audit_entries_read",
        "audit_entries",
        [sa.text("(refs ->> 'review')"), "actor"],
        postgresql_where=sa.text("kind = 'review.read.v1'"),
    )


def downgrade() -> None:
    op.drop_index("ix_audit_entries_read", "audit_entries")
    op.drop_index("ix_plan_comparisons_manifest_digest", "plan_comparisons")
    op.drop_index("ix_decisions_decided_at_review_id", "decisions")
    op.drop_index("ix_predictions_manifest_digest", "predictions")
    op.create_index("ix_predictions_manifest_digest", "predictions", ["manifest_digest"])
    op.drop_index("ix_events_record_id", "events")
    for table in ("second_looks", "relooks", "recalls", "model_history"):
        op.drop_table(table)
    for column in ("stop_note", "stop_concern", "stopped_by", "stopped_at", "proposed_by"):
        op.drop_column("model_versions", column)
    op.drop_column("model_versions", "num_steps")
    op.drop_column("model_versions", "state")
