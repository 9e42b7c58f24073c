"""Models, what they said, and the newest latent state of each patient."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.create_table(
        "model_versions",
        sa.Column("manifest_digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("vocabulary_digest", sa.Text(), nullable=False),
        sa.Column("registered_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("manifest_digest", name=op.f("pk_model_versions")),
    )
    op.create_table(
        "predictions",
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("patient_id", sa.Uuid(), nullable=False),
        sa.Column("as_of", _MOMENT, nullable=False),
        sa.Column("received_by", _MOMENT, nullable=False),
        sa.Column("made_at", _MOMENT, nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("request", postgresql.JSONB(), nullable=False),
        sa.Column("input_digest", sa.Text(), nullable=False),
        sa.Column("config_digest", sa.Text(), nullable=False),
        sa.Column("manifest_digest", sa.Text(), nullable=False),
        sa.Column("capsule", postgresql.JSONB(), nullable=False),
        sa.Column("trajectory", postgresql.JSONB(), nullable=True),
        sa.Column("latents", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.LargeBinary(), nullable=True),
        sa.Column("readouts", postgresql.JSONB(), nullable=False),
        sa.Column("abstention_reason", sa.Text(), nullable=True),
        sa.Column("abstention_detail", sa.Text(), nullable=True),
        sa.Column("familiarity", sa.Double(), nullable=True),
        sa.Column("unseen_code_share", sa.Double(), nullable=False),
        sa.Column("output_digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_digest"],
            ["model_versions.manifest_digest"],
            name=op.f("fk_predictions_manifest_digest"),
        ),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_predictions")),
        sa.UniqueConstraint(
            "patient_id",
            "input_digest",
            "manifest_digest",
            "config_digest",
            "purpose",
            name="uq_predictions_question",
        ),
    )
    op.create_index(
        op.f("ix_predictions_made_at_prediction_id"),
        "predictions",
        ["made_at", "prediction_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_predictions_manifest_digest"), "predictions", ["manifest_digest"], unique=False
    )
    op.create_table(
        "patient_states",
        sa.Column("patient_id", sa.Uuid(), nullable=False),
        sa.Column("manifest_digest", sa.Text(), nullable=False),
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("as_of", _MOMENT, nullable=False),
        sa.Column("state", VECTOR(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_digest"],
            ["model_versions.manifest_digest"],
            name=op.f("fk_patient_states_manifest_digest"),
        ),
        sa.ForeignKeyConstraint(
            ["prediction_id"],
            ["predictions.prediction_id"],
            name=op.f("fk_patient_states_prediction_id"),
        ),
        sa.PrimaryKeyConstraint("patient_id", "manifest_digest", name=op.f("pk_patient_states")),
    )


def downgrade() -> None:
    op.drop_table("patient_states")
    op.drop_table("predictions")
    op.drop_table("model_versions")
