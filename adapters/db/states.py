"""Latent states compared: whose are nearest, and how far apart patients usually are.

Knows the table `patient_states` and pgvector. Does not know what a state means. Every state of the
model at the site is compared, without an index: exact, and quick enough for tens of thousands.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Subquery, func, select
from sqlalchemy.dialects.postgresql import distinct_on

from adapters.db.retraction_tables import patient_merges
from adapters.db.tables import events, patient_states, patients
from clinical.prediction.similar import Neighbour
from clinical.timeline.merge import Says


class SqlLatentStates:
    """Implements the port `LatentStates` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def nearest(
        self, patient_id: UUID, manifest_digest: str, state: Sequence[float], limit: int
    ) -> list[Neighbour]:
        """The nearest other patients of the same site, each at their nearest moment, nearest first."""
        others = _others(patient_id, manifest_digest, state)
        query = select(others).order_by(others.c.distance, others.c.patient_id).limit(limit)
        return [
            Neighbour(row.patient_id, row.as_of, row.distance)
            for row in self._connection.execute(query)
        ]

    def typical_distance(
        self, patient_id: UUID, manifest_digest: str, state: Sequence[float]
    ) -> float | None:
        """The median distance of all those others; None where there is nobody."""
        others = _others(patient_id, manifest_digest, state)
        middle = func.percentile_cont(0.5).within_group(others.c.distance)
        return self._connection.scalar(select(middle))


def _others(patient_id: UUID, manifest_digest: str, state: Sequence[float]) -> Subquery:
    """Each other patient's nearest state of those after which something more became known.

    Records that were ever merged into another are left out, also where that was undone.
    """
    table, asked = patient_states.c, patients.alias("asked")
    distance: Any = table.state.l2_distance(list(state))
    followed = (
        select(events.c.event_id)
        .where(events.c.patient_id == table.patient_id, events.c.available_at > table.as_of)
        .exists()
    )
    merged = (
        select(patient_merges.c.gone_id)
        .where(
            patient_merges.c.gone_id == table.patient_id,
            patient_merges.c.says == Says.MERGED.value,
        )
        .exists()
    )
    return (
        select(table.patient_id, table.as_of, distance.label("distance"))
        .ext(distinct_on(table.patient_id))
        .join(patients, patients.c.patient_id == table.patient_id)
        .join(asked, asked.c.site == patients.c.site)
        .where(
            asked.c.patient_id == patient_id,
            table.patient_id != patient_id,
            table.manifest_digest == manifest_digest,
            func.vector_dims(table.state) == len(state),
            followed,
            ~merged,  # one person is not two neighbours, nor their own
        )
        .order_by(table.patient_id, distance, table.as_of)
        .subquery()
    )
