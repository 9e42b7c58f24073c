"""No governed row without its audit entry; salts apart from the commitments; what erasing a patient needs.

A row is governed where somebody may later ask who wrote it. The check runs at the commit: in the
same transaction an entry must name the row. `audit_pending` tells which entries are of this
transaction: the sequencer empties it, but cannot have seen what is not committed.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_XID = "(pg_current_xact_id()::text)::bigint"  # of the transaction, also within a savepoint

# Table, its key, and the ref by which an audit entry names a row of it.
_GOVERNED = (
    ("deliveries", "delivery_id", "delivery"),
    ("predictions", "prediction_id", "prediction"),
    ("reviews", "review_id", "review"),
    ("decisions", "decision_id", "decision"),
    ("plan_comparisons", "comparison_id", "comparison"),
    ("model_versions", "manifest_digest", "model"),
    ("write_backs", "review_id", "review"),
)
# Written once; deleted only where the transaction says that it erases a patient.
_WRITTEN_ONCE = ("predictions", "plan_comparisons", "decisions", "write_backs", "audit_openings")


def upgrade() -> None:
    op.execute(f"ALTER TABLE audit_pending ADD COLUMN xid bigint NOT NULL DEFAULT {_XID}")
    op.create_index("ix_audit_pending_xid", "audit_pending", ["xid"])
    # As the owner: whoever writes entries need not be able to write here.
    op.execute(
        "ALTER FUNCTION audit_entry_owes_leaf() SECURITY DEFINER SET search_path FROM CURRENT"
    )
    op.add_column("deliveries", sa.Column("erased_at", _MOMENT, nullable=True))
    op.create_table(
        "audit_openings",
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["audit_entries.entry_id"], name=op.f("fk_audit_openings_entry_id")
        ),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_audit_openings")),
    )
    op.create_table(
        "delivery_patients",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("patient_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.delivery_id"],
            name=op.f("fk_delivery_patients_delivery_id"),
        ),
        sa.PrimaryKeyConstraint("delivery_id", "patient_id", name=op.f("pk_delivery_patients")),
    )
    op.execute("INSERT INTO delivery_patients SELECT DISTINCT delivery_id, patient_id FROM events")
    op.create_index(op.f("ix_delivery_patients_patient_id"), "delivery_patients", ["patient_id"])
    op.create_table(
        "write_backs",
        sa.Column("review_id", sa.Uuid(), nullable=False),
        sa.Column("ehr_id", sa.Text(), nullable=False),
        sa.Column("told_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["review_id"], ["reviews.review_id"], name=op.f("fk_write_backs_review_id")
        ),
        sa.PrimaryKeyConstraint("review_id", name=op.f("pk_write_backs")),
    )
    op.execute(
        f"""
        CREATE FUNCTION is_erasing() RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN
            RETURN EXISTS (
                SELECT FROM audit_pending JOIN audit_entries USING (entry_id)
                WHERE xid = {_XID} AND kind = 'patient.erased.v1'
            );
        END $$
        """
    )
    for governed in _GOVERNED:
        _govern(*governed)
    _write_once()


def _govern(table: str, key: str, ref: str) -> None:
    """A function for each table: plans of static statements are kept, those of dynamic ones are not."""
    op.execute(
        f"""
        CREATE FUNCTION {table}_are_audited() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP <> 'DELETE' THEN
                PERFORM FROM audit_pending JOIN audit_entries USING (entry_id)
                WHERE xid = {_XID} AND refs ->> '{ref}' = NEW.{key}::text;
                IF FOUND THEN
                    RETURN NULL;
                END IF;
            END IF;
            IF TG_OP <> 'INSERT' AND is_erasing() THEN
                RETURN NULL;
            END IF;
            RAISE EXCEPTION 'no audit entry of this transaction names the row of {table}'
                USING ERRCODE = 'restrict_violation', CONSTRAINT = '{table}_are_audited';
        END $$
        """
    )
    op.execute(
        f"CREATE CONSTRAINT TRIGGER are_audited AFTER INSERT OR UPDATE OR DELETE ON {table}"
        f" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {table}_are_audited()"
    )


def _write_once() -> None:
    op.execute("DROP TRIGGER append_only ON decisions")
    op.execute(
        """
        CREATE FUNCTION refuse_change_but_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' AND is_erasing() THEN
                RETURN NULL;
            END IF;
            RAISE EXCEPTION 'the table % is append-only', TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation';
        END $$
        """
    )
    for table in _WRITTEN_ONCE:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_but_erasure()"
        )


def downgrade() -> None:
    for table in ("predictions", "plan_comparisons", "decisions"):
        op.execute(f"DROP TRIGGER append_only ON {table}")
    for table, _, _ in _GOVERNED:
        op.execute(f"DROP TRIGGER are_audited ON {table}")
        op.execute(f"DROP FUNCTION {table}_are_audited")
    op.drop_table("write_backs")
    op.drop_table("delivery_patients")
    op.drop_table("audit_openings")
    op.execute("DROP FUNCTION refuse_change_but_erasure")
    op.execute("DROP FUNCTION is_erasing")
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON decisions"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.drop_column("deliveries", "erased_at")
    op.execute("ALTER FUNCTION audit_entry_owes_leaf() SECURITY INVOKER RESET search_path")
    op.drop_index("ix_audit_pending_xid", "audit_pending")
    op.drop_column("audit_pending", "xid")
