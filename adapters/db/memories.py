"""What models remember of patients: a few memories each, thinned with their distance.

Knows the table `patient_memories`. Does not know what the bytes mean.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.tables import patient_memories
from clinical.prediction.memory import PatientMemory
from clinical.timeline.chain import Prefix, is_kept


class SqlMemories:
    """Implements the port `Memories` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def newest(
        self, patient_id: UUID, manifest_digest: str, prefixes: Sequence[Prefix]
    ) -> PatientMemory | None:
        """The memory of this model that reaches furthest, of those at one of `prefixes`."""
        table = patient_memories.c
        row = (
            self._connection.execute(
                select(patient_memories)
                .where(
                    table.patient_id == patient_id,
                    table.manifest_digest == manifest_digest,
                    table.prefix_digest.in_([prefix.digest for prefix in prefixes]),
                )
                .order_by(table.num_blocks.desc())
                .limit(1)
            )
            .mappings()
            .one_or_none()
        )
        return None if row is None else _memory_of(row)

    def keep(self, memories: Sequence[PatientMemory]) -> None:
        """Store, in place of what was remembered after as many blocks; let go what lies too close."""
        for memory in memories:
            row = _row_of(memory)
            self._connection.execute(
                upsert(patient_memories)
                .values(row)
                .on_conflict_do_update(constraint="pk_patient_memories", set_=row)
            )
        for patient_id in {memory.patient_id for memory in memories}:
            self._thin(patient_id, memories[0].manifest_digest)

    def _thin(self, patient_id: UUID, manifest_digest: str) -> None:
        table = patient_memories.c
        of_patient = table.patient_id == patient_id
        held = set(
            self._connection.scalars(
                select(table.num_blocks).where(of_patient, table.manifest_digest == manifest_digest)
            )
        )
        spare = [blocks for blocks in held if not is_kept(blocks, max(held))]
        # What another model remembers is of no use to this one, and can be read again.
        self._connection.execute(
            delete(patient_memories).where(
                of_patient,
                (table.manifest_digest != manifest_digest) | table.num_blocks.in_(spare),
            )
        )


def _row_of(memory: PatientMemory) -> dict[str, Any]:
    return {
        "patient_id": memory.patient_id,
        "manifest_digest": memory.manifest_digest,
        "num_blocks": memory.prefix.num_blocks,
        "num_events": memory.prefix.num_events,
        "known_until": memory.prefix.known_until,
        "prefix_digest": memory.prefix.digest,
        "code_version": memory.code_version,
        "torch_version": memory.torch_version,
        "device": memory.device,
        "data": memory.data,
        "data_digest": memory.digest,
    }


def _memory_of(row: RowMapping) -> PatientMemory:
    return PatientMemory(
        patient_id=row["patient_id"],
        manifest_digest=row["manifest_digest"],
        prefix=Prefix(
            num_blocks=row["num_blocks"],
            num_events=row["num_events"],
            known_until=row["known_until"],
            digest=row["prefix_digest"],
        ),
        code_version=row["code_version"],
        torch_version=row["torch_version"],
        device=row["device"],
        data=row["data"],
        digest=row["data_digest"],
    )
