"""Deleted records, merged patients, marks on predictions gone stale; and records found at every delivery."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_TABLES = ("deleted_records", "patient_merges", "stale_marks")
_XID = "(pg_current_xact_id()::text)::bigint"


def upgrade() -> None:
    _create_deleted_records()
    _create_patient_merges()
    _create_stale_marks()
    for table in _TABLES:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_but_erasure()"
        )
    # Whether a record is held already is asked at every delivery: the old index was for once in a while.
    op.drop_index("ix_events_record_id", "events")
    op.create_index("ix_events_record_id", "events", ["record_id"], postgresql_using="hash")


def _create_deleted_records() -> None:
    op.create_table(
        "deleted_records",
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("site", "record_type", "record_id", "digest", "version")
        ),
        sa.Column("updated_at", _MOMENT),
        sa.Column("received_at", _MOMENT, nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint(
            "site", "record_type", "record_id", "digest", name=op.f("pk_deleted_records")
        ),
    )
    op.create_index(op.f("ix_deleted_records_delivery_id"), "deleted_records", ["delivery_id"])


def _create_patient_merges() -> None:
    op.create_table(
        "patient_merges",
        sa.Column("gone_id", sa.Uuid(), nullable=False),
        sa.Column("kept_id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("says", "said_by", "digest")),
        sa.Column("lapses", sa.Boolean(), nullable=False),
        sa.Column("updated_at", _MOMENT),
        sa.Column("received_at", _MOMENT, nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint(
            "gone_id", "kept_id", "says", "said_by", "digest", name=op.f("pk_patient_merges")
        ),
    )
    op.create_index(op.f("ix_patient_merges_kept_id"), "patient_merges", ["kept_id"])


def _create_stale_marks() -> None:
    op.create_table(
        "stale_marks",
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["prediction_id"],
            ["predictions.prediction_id"],
            name=op.f("fk_stale_marks_prediction_id"),
        ),
        sa.PrimaryKeyConstraint(
            "prediction_id", "delivery_id", "reason", name=op.f("pk_stale_marks")
        ),
    )
    op.execute(
        f"""
        CREATE FUNCTION stale_marks_are_audited() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' THEN
                RETURN NULL;  -- only while erasing: see append_only
            END IF;
            PERFORM FROM audit_pending JOIN audit_entries USING (entry_id)
            WHERE xid = {_XID} AND refs ->> 'prediction' = NEW.prediction_id::text;
            IF FOUND THEN
                RETURN NULL;
            END IF;
            RAISE EXCEPTION 'no audit entry of this transaction names the row of stale_marks'
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'stale_marks_are_audited';
        END $$
        """
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER are_audited AFTER INSERT OR UPDATE OR DELETE ON stale_marks"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stale_marks_are_audited()"
    )


def downgrade() -> None:
    op.drop_index("ix_events_record_id", "events")
    op.create_index(
        "ix_events_record_id",
        "events",
        ["record_id"],
        postgresql_using="brin",
        postgresql_ops={"record_id": "text_bloom_ops"},
        postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
    )
    for table in reversed(_TABLES):
        op.drop_table(table)
    op.execute("DROP FUNCTION stale_marks_are_audited")
