"""Cards that EHRs were shown of predictions, what was said of them, and tokens that are used up."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0017"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_XID = "(pg_current_xact_id()::text)::bigint"  # of the transaction, also within a savepoint
_WRITTEN_ONCE = ("shown_cards", "card_feedback")


def upgrade() -> None:
    op.create_table(
        "shown_cards",
        sa.Column("card_id", sa.Uuid(), nullable=False),
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("hook", sa.Text(), nullable=False),
        sa.Column("comparison_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["prediction_id"],
            ["predictions.prediction_id"],
            name=op.f("fk_shown_cards_prediction_id"),
        ),
        sa.ForeignKeyConstraint(
            ["comparison_id"],
            ["plan_comparisons.comparison_id"],
            name=op.f("fk_shown_cards_comparison_id"),
        ),
        sa.PrimaryKeyConstraint("card_id", name=op.f("pk_shown_cards")),
    )
    op.create_index(op.f("ix_shown_cards_prediction_id"), "shown_cards", ["prediction_id"])
    op.create_table(
        "card_feedback",
        sa.Column("feedback_id", sa.Uuid(), nullable=False),
        sa.Column("card_id", sa.Uuid(), nullable=False),
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("given_at", _MOMENT, nullable=False),
        sa.Column("received_at", _MOMENT, nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("reason_system", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("reason_display", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["card_id"], ["shown_cards.card_id"], name=op.f("fk_card_feedback_card_id")
        ),
        sa.ForeignKeyConstraint(
            ["prediction_id"],
            ["predictions.prediction_id"],
            name=op.f("fk_card_feedback_prediction_id"),
        ),
        sa.PrimaryKeyConstraint("feedback_id", name=op.f("pk_card_feedback")),
    )
    op.create_index(
        op.f("ix_card_feedback_prediction_id_given_at"),
        "card_feedback",
        ["prediction_id", "given_at"],
    )
    op.create_table(
        "spent_tokens",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_spent_tokens")),
    )
    op.create_index(op.f("ix_spent_tokens_expires_at"), "spent_tokens", ["expires_at"])
    _govern_feedback()
    for table in _WRITTEN_ONCE:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_but_erasure()"
        )


def _govern_feedback() -> None:
    """As every governed row: an entry of the same transaction names it."""
    op.execute(
        f"""
        CREATE FUNCTION card_feedback_are_audited() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP <> 'DELETE' THEN
                PERFORM FROM audit_pending JOIN audit_entries USING (entry_id)
                WHERE xid = {_XID} AND refs ->> 'feedback' = NEW.feedback_id::text;
                IF FOUND THEN
                    RETURN NULL;
                END IF;
            END IF;
            IF TG_OP <> 'INSERT' AND is_erasing() THEN
                RETURN NULL;
            END IF;
            RAISE EXCEPTION 'no audit entry of this transaction names the row of card_feedback'
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'card_feedback_are_audited';
        END $$
        """
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER are_audited AFTER INSERT OR UPDATE OR DELETE ON card_feedback"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION card_feedback_are_audited()"
    )


def downgrade() -> None:
    op.drop_table("spent_tokens")
    op.drop_table("card_feedback")
    op.execute("DROP FUNCTION card_feedback_are_audited")
    op.drop_table("shown_cards")
