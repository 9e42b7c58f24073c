"""What a model remembers of each patient, and a latent state for every prediction.

Until now only the newest latent state of a patient was kept. Similar patients are told apart by what
happened to them afterwards, and after the newest state nothing has happened yet.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_OLDER = """
DELETE FROM patient_states older USING patient_states newer
WHERE older.patient_id = newer.patient_id AND older.manifest_digest = newer.manifest_digest
  AND (older.as_of, older.prediction_id) < (newer.as_of, newer.prediction_id)
"""


def upgrade() -> None:
    op.create_table(
        "patient_memories",
        sa.Column("patient_id", sa.Uuid(), nullable=False),
        sa.Column("manifest_digest", sa.Text(), nullable=False),
        sa.Column("num_blocks", sa.Integer(), nullable=False),
        sa.Column("num_events", sa.Integer(), nullable=False),
        sa.Column("prefix_digest", sa.Text(), nullable=False),
        sa.Column("known_until", _MOMENT, nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("torch_version", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("data_digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["patient_id"],
            ["patients.patient_id"],
            name=op.f("fk_patient_memories_patient_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["manifest_digest"],
            ["model_versions.manifest_digest"],
            name=op.f("fk_patient_memories_manifest_digest"),
        ),
        sa.PrimaryKeyConstraint(
            "patient_id", "manifest_digest", "num_blocks", name=op.f("pk_patient_memories")
        ),
    )
    op.drop_constraint("pk_patient_states", "patient_states", type_="primary")
    op.create_primary_key("pk_patient_states", "patient_states", ["prediction_id"])
    op.create_index(
        op.f("ix_patient_states_manifest_digest"), "patient_states", ["manifest_digest"]
    )


def downgrade() -> None:
    op.drop_index("ix_patient_states_manifest_digest", table_name="patient_states")
    op.execute(_OLDER)
    op.drop_constraint("pk_patient_states", "patient_states", type_="primary")
    op.create_primary_key("pk_patient_states", "patient_states", ["patient_id", "manifest_digest"])
    op.drop_table("patient_memories")
