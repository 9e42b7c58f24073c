"""Records that were taken back without a word of whose they are: what that withdraws, and of whom.

Knows versions of records of whatever patient. Every answer depends on what came, never on its order.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from clinical.timeline.event import Event, Source, Standing
from clinical.timeline.versions import Record, made, record_of

_PART = "withdrawn/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A record was deleted at its sender: when that was said and, by `source`, when it was done."""

    source: Source
    received_at: datetime

    @property
    def record(self) -> Record:
        """The record that was deleted."""
        return (self.source.site, self.source.record_type, self.source.record_id)


def is_derived(event: Event) -> bool:
    """Whether we concluded the event: no sender's record says it."""
    return event.part.startswith(_PART)


def retractions(versions: Iterable[Event], deletions: Iterable[Deletion]) -> list[Event]:
    """The events by which each holder of a record learns that it is theirs no more.

    A record that was deleted is nobody's; a version about somebody else takes the record away from
    all others who hold it. Whether such an event comes before or after a version is decided as
    between versions, so a record that was made, or moved back, after it stands again. Versions whose
    sender does not say when they were made are ordered by receipt: such a record is deleted as of when
    its deletion came, too.
    """
    held: defaultdict[Record, list[Event]] = defaultdict(list)
    for event in versions:
        if not is_derived(event):
            held[record_of(event)].append(event)
    deleted: defaultdict[Record, list[Deletion]] = defaultdict(list)
    for deletion in deletions:
        deleted[deletion.record].append(deletion)
    found = []
    for record, events in held.items():
        patient_ids = {event.patient_id for event in events}
        if len(patient_ids) == 1 and record not in deleted:
            continue  # as nearly always
        for patient_id in sorted(patient_ids):
            own = [event for event in events if event.patient_id == patient_id]
            taken = [(e.source, e.received_at) for e in events if e.patient_id != patient_id]
            is_timed = all(event.source.updated_at is not None for event in own)
            for each in deleted[record]:
                taken.append((each.source, each.received_at))
                if each.source.updated_at is not None and not is_timed:
                    taken.append((_as_received(each.source), each.received_at))
            like = min(own, key=made)
            unique = {source.digest: (source, at) for source, at in taken}
            found += [_retraction(like, *each) for each in unique.values()]
    return found


def _as_received(source: Source) -> Source:
    digest = hashlib.sha256(f"{source.digest} as received".encode()).hexdigest()
    return replace(source, updated_at=None, digest=digest)


def _retraction(like: Event, source: Source, received_at: datetime) -> Event:
    """That a record is withdrawn from a patient; of what it said, only what sort of fact it was."""
    return Event(
        patient_id=like.patient_id,
        kind=like.kind,
        code=like.code,
        source=source,
        received_at=received_at,
        recorded_at=source.updated_at or received_at,
        part=f"{_PART}{like.patient_id}",
        standing=Standing.RETRACTED,
        origin=like.origin,
        status="withdrawn",
    )


def contents(events: Iterable[Event]) -> frozenset[tuple[str, ...]]:
    """What the facts of records say, without which version said it nor when it became known."""
    return frozenset((*event.fact_key, *event.canonical().split("\t")[1:]) for event in events)


def holders(versions: Iterable[Event]) -> frozenset[UUID]:
    """The patients of whom these versions tell."""
    return frozenset(event.patient_id for event in versions)
