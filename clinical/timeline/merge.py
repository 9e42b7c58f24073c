"""Which records of patients are one person: what senders said of that, and what it comes to at a moment.

Knows identities of patients and moments. Does not know events. Nothing said is ever forgotten: that two
records are two people after all is one more statement.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from clinical.timeline.versions import Made


class Says(StrEnum):
    """What a statement says of two records."""

    MERGED = "merged"
    SEPARATED = "separated"  # they are two people after all, whoever said otherwise before
    SILENT = "silent"  # the record that said so says so no more


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeStatement:
    """What is under `gone` belongs to `kept`, or does no more. `said_by` is the record that says so.

    `gone_id` and `kept_id` are ours. It `lapses` where a newer version of that record no longer says
    so. Statements are ordered as versions of records are.
    """

    gone_id: UUID
    kept_id: UUID
    says: Says
    said_by: str  # `type/id`
    lapses: bool = False
    digest: str  # hex SHA-256 of the bytes that said so
    updated_at: datetime | None
    received_at: datetime
    delivery_id: UUID

    @property
    def made(self) -> Made:
        """When the sender said so, when it came, its bytes."""
        return (self.updated_at or self.received_at, self.received_at, self.digest)


Edges = dict[UUID, tuple[UUID, datetime]]  # of a record that is gone: which is kept, and since when


@dataclass(frozen=True, slots=True)
class Merges:
    """All statements about some records. A moment of None means: as of all that was said."""

    statements: tuple[MergeStatement, ...] = ()

    def lead(
        self, patient_id: UUID, as_of: datetime | None = None, received_by: datetime | None = None
    ) -> UUID:
        """The record under which the person is kept; the patient's own where nothing was merged."""
        edges = self._edges(as_of, received_by)
        while patient_id in edges:
            patient_id = edges[patient_id][0]
        return patient_id

    def under(
        self, patient_id: UUID, as_of: datetime | None = None, received_by: datetime | None = None
    ) -> Mapping[UUID, datetime]:
        """The records merged into this one, over others too, and since when each belongs to it."""
        edges = self._edges(as_of, received_by)
        found = {}
        for gone in edges:
            at, since = gone, []
            while at in edges and at != patient_id:
                at, moment = edges[at]
                since.append(moment)
            if at == patient_id and since:
                found[gone] = max(since)
        return found

    def above(self, patient_ids: Iterable[UUID]) -> frozenset[UUID]:
        """These, and all records under which they are or ever were kept."""
        found = frozenset(patient_ids)
        while True:
            kept = {said.kept_id for said in self.statements if said.gone_id in found}
            if kept <= found:
                return found
            found |= kept

    @property
    def patient_ids(self) -> frozenset[UUID]:
        """All records that anything was said of."""
        return frozenset(each for said in self.statements for each in (said.gone_id, said.kept_id))

    def within(self, as_of: datetime | None, received_by: datetime | None) -> "Merges":
        """What had been said by then, of what had reached us by then."""
        return Merges(
            tuple(
                said
                for said in self.statements
                if (as_of is None or said.made[0] <= as_of)
                and (received_by is None or said.received_at <= received_by)
            )
        )

    def _edges(self, as_of: datetime | None, received_by: datetime | None) -> Edges:
        of_gone: defaultdict[UUID, list[MergeStatement]] = defaultdict(list)
        for said in self.within(as_of, received_by).statements:
            if said.gone_id != said.kept_id:
                of_gone[said.gone_id].append(said)
        edges: Edges = {}
        for gone, statements in of_gone.items():
            holding = _holding(sorted(statements, key=lambda said: (said.made, said.kept_id)))
            if holding is not None:
                edges[gone] = holding
        return _without_cycles(edges)


def _holding(statements: list[MergeStatement]) -> tuple[UUID, datetime] | None:
    """Into which record one is merged at the end, and since when without a break."""
    held: tuple[UUID, datetime] | None = None
    for end in range(1, len(statements) + 1):
        kept = _kept(statements[:end])
        if kept is None:
            held = None
        elif held is None or held[0] != kept:
            held = (kept, statements[end - 1].made[0])
    return held


def _kept(statements: Iterable[MergeStatement]) -> UUID | None:
    """The newest that still says so, of those that nobody contradicted since."""
    newest: dict[tuple[str, UUID], MergeStatement] = {}
    separated: dict[UUID, Made] = {}
    for said in statements:
        if said.says is Says.SEPARATED:
            separated[said.kept_id] = said.made
        else:
            newest[said.said_by, said.kept_id] = said
    holding = [
        said
        for said in newest.values()
        if said.says is Says.MERGED
        and not (said.kept_id in separated and separated[said.kept_id] > said.made)
    ]
    if not holding:
        return None
    return max(holding, key=lambda said: (said.made, said.kept_id)).kept_id


def _without_cycles(edges: Edges) -> Edges:
    """Of records said to be merged in a circle, what was said first no longer holds."""
    for start in sorted(edges):
        path, at = [start], start
        while at in edges and (at := edges[at][0]) not in path:
            path.append(at)
        if at in edges and at in path:
            circle = path[path.index(at) :]
            edges.pop(min(circle, key=lambda gone: (edges[gone][1], gone)))
    return edges
