"""Which predictions rested on what a delivery took back: marked, audited, and asked to be looked at again.

Shared by the services that record deliveries; not a journey itself. The caller commits. No whole
timeline is read: whether a record stood at a question is told by the versions of that record alone.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.prediction.registry import Concern
from clinical.prediction.staleness import StaleMark, StaleReason
from clinical.review.recall import Recall, RecallKind, Touched
from clinical.services.ports import Identities, UnitOfWork, append_all
from clinical.services.retraction import Change
from clinical.services.taking_back import owe_take_backs
from clinical.timeline.event import Event
from clinical.timeline.merge import Merges
from clinical.timeline.timeline import Timeline
from clinical.timeline.versions import by_patient, record_of
from clinical.timeline.withdrawal import contents

_AT_ONCE = 200  # signed reviews marked in one statement

Asked = tuple[UUID, UUID, datetime, datetime]
"""Patient, prediction, `as_of`, `received_by`."""
Reasons = dict[tuple[UUID, UUID], StaleReason]
"""By patient and prediction."""
Fact = tuple[str, ...]


def mark(uow: UnitOfWork, change: Change, act: Act, identities: Identities) -> frozenset[UUID]:
    """Mark every prediction that rested on what is no more; the patients of whom some did."""
    reasons = _corrected(uow, change) | _of_deleted(uow, change) | _regrouped(uow, change)
    _close_reviews_of_gone(uow, change, act, identities)
    if not reasons:
        return frozenset()
    delivery_id = change.delivery.delivery_id
    whose = {prediction_id: patient_id for patient_id, prediction_id in reasons}
    marks = uow.retractions.mark(
        [
            StaleMark(prediction_id=each, delivery_id=delivery_id, reason=reason, since=act.at)
            for (_, each), reason in sorted(reasons.items())
        ]
    )
    append_all(
        uow.audit_log,
        (
            act.entry(
                identities.new(),
                AuditKind.PREDICTION_STALE,
                prediction=made.prediction_id,
                delivery=delivery_id,
                why=made.reason,
            )
            for made in marks
        ),
    )
    stale = [made.prediction_id for made in marks if made.reason is not StaleReason.RESTORED]
    stale.sort(key=lambda each: (whose[each], each))
    for patient_id, theirs in groupby(stale, key=whose.__getitem__):
        _ask_relooks(uow, change, patient_id, tuple(theirs), act, identities)
    return frozenset(whose[made.prediction_id] for made in marks)


def _corrected(uow: UnitOfWork, change: Change) -> Reasons:
    """Those that read a version that stood and stands no more, unless the newer one says the same."""
    changed = {record_of(event) for event in change.new}
    held = [event for event in change.held if record_of(event) in changed]
    reasons: Reasons = {}
    for patient_id in sorted(change.after.above(event.patient_id for event in held)):
        lost = _lost(patient_id, held, change)
        if not lost:
            continue
        records = Timeline.of_person(patient_id, by_patient((*held, *change.new)), change.after)
        for _, prediction_id, as_of, received_by in uow.recalls.asked_of([patient_id]):
            then = contents(records.cut(as_of, received_by=received_by).events)
            if read := then & lost.keys():
                reasons[patient_id, prediction_id] = max(lost[fact] for fact in read)
    return reasons


def _lost(patient_id: UUID, held: Sequence[Event], change: Change) -> Mapping[Fact, StaleReason]:
    """The facts that stood in a patient's timeline and do not any more, and why."""
    before = Timeline.of_person(patient_id, by_patient(held), change.after)
    after = Timeline.of_person(patient_id, by_patient((*held, *change.new)), change.after)
    still = {record_of(event) for event in after.events}
    return {
        fact: StaleReason.CORRECTED if fact[:3] in still else StaleReason.WITHDRAWN
        for fact in contents(before.events) - contents(after.events)
    }


def _of_deleted(uow: UnitOfWork, change: Change) -> Reasons:
    """All of a patient whose own record was deleted: what is under it was not, so people are to look."""
    asked = uow.recalls.asked_of(change.deleted) if change.deleted else []
    return {(each[0], each[1]): StaleReason.PATIENT_DELETED for each in asked}


def _regrouped(uow: UnitOfWork, change: Change) -> Reasons:
    """Those of a record that is merged now, and those that read what is another person's."""
    reasons: Reasons = {}
    for patient_id in sorted(change.regrouped):
        asked = uow.recalls.asked_of([patient_id])
        is_gone = change.after.lead(patient_id) != patient_id
        was_gone = change.before.lead(patient_id) != patient_id
        if is_gone and not was_gone:
            reasons |= {(patient_id, each[1]): StaleReason.MERGED for each in asked}
        elif was_gone and not is_gone:
            reasons |= {(patient_id, each): StaleReason.RESTORED for each in _merged(uow, asked)}
        under = change.before.under(patient_id).keys() - change.after.under(patient_id).keys()
        reasons |= dict(_separated(change.before, uow.timelines.known(under), asked))
    return reasons


def _merged(uow: UnitOfWork, asked: Iterable[Asked]) -> list[UUID]:
    stale = uow.retractions.stale([each[1] for each in asked])
    return [each for each, made in stale.items() if made.reason is StaleReason.MERGED]


def _separated(
    before: Merges, lost: Collection[UUID], asked: Iterable[Asked]
) -> Iterator[tuple[tuple[UUID, UUID], StaleReason]]:
    for patient_id, prediction_id, as_of, received_by in asked:
        if lost and lost & before.under(patient_id, as_of, received_by).keys():
            yield (patient_id, prediction_id), StaleReason.SEPARATED


def _ask_relooks(
    uow: UnitOfWork,
    change: Change,
    patient_id: UUID,
    prediction_ids: tuple[UUID, ...],
    act: Act,
    identities: Identities,
) -> None:
    """One recall, by the service itself, for all that a delivery took back of a patient."""
    delivery_id, touched = change.delivery.delivery_id, Touched(prediction_ids=prediction_ids)
    recall = Recall(
        recall_id=identities.new(),
        kind=RecallKind.RETRACTION,
        target=f"{delivery_id} {patient_id}",
        concern=Concern.DATA,
        note="",
        by=act.actor,
        at=act.at,
        patient_id=patient_id,
    )
    if not uow.recalls.add(recall):
        return  # another worker recorded the delivery meanwhile: nothing of this attempt is kept
    after: UUID | None = None
    while True:
        marked, after = uow.recalls.ask_relooks(
            recall, touched, act.at, after=after, limit=_AT_ONCE
        )
        append_all(
            uow.audit_log,
            (
                act.entry(
                    identities.new(),
                    AuditKind.REVIEW_RELOOK,
                    review=each,
                    recall=recall.recall_id,
                    delivery=delivery_id,
                )
                for each in marked
            ),
        )
        owe_take_backs(uow, marked, act.at, identities)
        if after is None:
            return


def _close_reviews_of_gone(
    uow: UnitOfWork, change: Change, act: Act, identities: Identities
) -> None:
    for patient_id in sorted(change.regrouped):
        if change.after.lead(patient_id) == patient_id:
            continue
        # Nobody opens another meanwhile; of these some may be signed meanwhile: the rest is held.
        listed = tuple(review.prediction_id for review in uow.reviews.open_for(patient_id))
        held = Touched(prediction_ids=listed)
        for review in uow.recalls.open_reviews(held, _AT_ONCE) if listed else ():
            uow.reviews.update(review.withdraw(act.at, StaleReason.MERGED.value))
            uow.audit_log.append(
                act.entry(
                    identities.new(),
                    AuditKind.REVIEW_WITHDRAWN,
                    review=review.review_id,
                    delivery=change.delivery.delivery_id,
                    why=StaleReason.MERGED,
                )
            )
