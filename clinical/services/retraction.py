"""What a delivery takes back: records withdrawn, patients merged or separated.

Shared by the services that record deliveries; not a journey itself. The caller commits. What rested on
it is `marking`'s matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from clinical.services.delivery import Delivery, Merged, Reading
from clinical.services.ports import UnitOfWork
from clinical.timeline.event import Event
from clinical.timeline.merge import Merges, MergeStatement, Says
from clinical.timeline.patient import PatientRef
from clinical.timeline.versions import record_of
from clinical.timeline.withdrawal import Deletion, is_derived, retractions


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a delivery changes: versions of its records held before and new, merges before and after.

    `new` is empty where nothing of its records was held: then nobody can have read them. `deleted`
    are the patients whose own record was deleted.
    """

    delivery: Delivery
    held: Sequence[Event]
    new: Sequence[Event]
    before: Merges
    after: Merges
    deleted: frozenset[UUID]

    @property
    def regrouped(self) -> frozenset[UUID]:
        """Whose timeline holds other records than before, or is now that of another."""
        before, after = self.before, self.after
        if before == after:
            return frozenset()
        return frozenset(
            each
            for each in after.patient_ids
            if before.under(each) != after.under(each) or before.lead(each) != after.lead(each)
        )


def retract(uow: UnitOfWork, delivery: Delivery, reading: Reading) -> Change:
    """Add to the reading the events by which records are withdrawn, and store what was said of merges.

    To be called first in the transaction, before the events of the reading are added.
    """
    uow.retractions.lock(alone=bool(reading.withdrawn or reading.merged))
    held, new = _versions(uow, delivery, reading)
    _introduce(reading, delivery.site)
    before, after = _merges(uow, delivery, reading, held)
    return Change(
        delivery=delivery,
        held=held,
        new=new,
        before=before,
        after=after,
        deleted=frozenset(
            PatientRef(delivery.site, each.source.record_id).patient_id
            for each in reading.withdrawn
            if each.source.record_type == "Patient"
        ),
    )


def _versions(
    uow: UnitOfWork, delivery: Delivery, reading: Reading
) -> tuple[list[Event], list[Event]]:
    deletions = [
        Deletion(source=each.source, received_at=delivery.received_at) for each in reading.withdrawn
    ]
    uow.retractions.add_deletions(deletions)
    records = {record_of(event) for event in reading.events} | {each.record for each in deletions}
    held = uow.timelines.versions(records)
    held_ids = {event.event_id for event in held}
    derived = retractions([*held, *reading.events], uow.retractions.deletions(records))
    reading.events += [event for event in derived if event.event_id not in held_ids]
    if not held:
        return [], []
    return held, [event for event in reading.events if event.event_id not in held_ids]


def _introduce(reading: Reading, site: str) -> None:
    """Whoever is merged was told of by the delivery, also where nothing else is known of them."""
    for merged in reading.merged:
        for record_id in (merged.gone, merged.kept):
            ref = PatientRef(site, record_id)
            reading.patients[ref.patient_id] = ref


def _merges(
    uow: UnitOfWork, delivery: Delivery, reading: Reading, held: Sequence[Event]
) -> tuple[Merges, Merges]:
    patient_ids = {event.patient_id for event in reading.events} | reading.patients.keys()
    if not patient_ids:
        return Merges(), Merges()
    before = uow.retractions.merges(patient_ids)
    said = [_statement(delivery, merged) for merged in reading.merged]
    merging = [each for each in (*before.statements, *said) if each.says is Says.MERGED]
    said += _silences(merging, [*held, *reading.events])
    added = frozenset(uow.retractions.add_statements(said))
    if not added:
        return before, before
    after = uow.retractions.merges(patient_ids)
    # Of whoever is linked with them only from now on, something may have been said before.
    return Merges(tuple(each for each in after.statements if each not in added)), after


def _silences(merging: Sequence[MergeStatement], events: Sequence[Event]) -> list[MergeStatement]:
    """For each version of a record that says nothing of a merge of which another version of it speaks.

    Whether it comes before or after that one is decided as between versions; by receipt where either
    does not say when it was made.
    """
    lapsing = [each for each in merging if each.lapses]
    if not lapsing:
        return []
    versions = {
        event.source.digest: event
        for event in events
        if event.source.record_type == "Patient" and not is_derived(event)
    }
    said = {(each.gone_id, each.kept_id, each.said_by, each.digest) for each in lapsing}
    return [
        _silence(each, event)
        for each in lapsing
        for digest, event in versions.items()
        if f"Patient/{event.source.record_id}" == each.said_by
        and (each.gone_id, each.kept_id, each.said_by, digest) not in said
        and (_are_timed(each, event) or event.received_at > each.received_at)
    ]


def _are_timed(said: MergeStatement, event: Event) -> bool:
    return said.updated_at is not None and event.source.updated_at is not None


def _silence(said: MergeStatement, event: Event) -> MergeStatement:
    return replace(
        said,
        says=Says.SILENT,
        digest=event.source.digest,
        updated_at=event.source.updated_at if _are_timed(said, event) else None,
        received_at=event.received_at,
        delivery_id=event.source.delivery_id,
    )


def _statement(delivery: Delivery, merged: Merged) -> MergeStatement:
    source = merged.source
    return MergeStatement(
        gone_id=PatientRef(delivery.site, merged.gone).patient_id,
        kept_id=PatientRef(delivery.site, merged.kept).patient_id,
        says=Says.SEPARATED if merged.is_undone else Says.MERGED,
        said_by=f"{source.record_type}/{source.record_id}",
        lapses=merged.lapses,
        digest=source.digest,
        updated_at=source.updated_at,
        received_at=delivery.received_at,
        delivery_id=delivery.delivery_id,
    )
