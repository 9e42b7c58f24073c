"""Recall: find all that a model or an input record touched; withdraw what is open, ask for another look."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from clinical.audit.entry import Act, AuditEntry, AuditKind
from clinical.errors import NotFoundError
from clinical.prediction.registry import Concern
from clinical.review.recall import (
    AmbiguousRecordError,
    Findings,
    NotToLookAtError,
    Recall,
    RecallKind,
    RecordName,
    Touched,
    TouchedPrediction,
)
from clinical.services.ports import Clock, Identities, OpenUnitOfWork, UnitOfWork, append_all
from clinical.services.taking_back import owe_take_backs
from clinical.timeline.event import Source
from clinical.timeline.timeline import Timeline

_AT_ONCE = 200  # reviews changed in one commit: clinicians who hold one wait only that long


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is recalled, found: its name as it is kept, and what it touched."""

    kind: RecallKind
    name: str
    touched: Touched
    patient_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """What a recall changed: nothing, where it is done again and nothing new was touched."""

    recall: Recall
    is_new: bool
    num_withdrawn: int
    num_to_look_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallService:
    """Finds, lists, marks. A recall cut short is done again; what it did stands and is not done twice."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities

    def of_model(self, named: str) -> Target:
        """All that a model answered; raises NotFoundError where no one model is called so."""
        with self.open_unit_of_work() as uow:
            exact = uow.models.find(named)
            found = [exact] if exact else uow.models.named(named)
        if len(found) != 1:
            raise NotFoundError("no one model is called so: give more of the digest")
        digest = found[0].fingerprint.manifest_digest
        return Target(kind=RecallKind.MODEL, name=digest, touched=Touched(manifest_digest=digest))

    def of_record(self, record: RecordName) -> Target:
        """The predictions that saw a version of the record stand: found by cutting timelines again.

        Raises:
            NotFoundError: no event was read from such a record.
            AmbiguousRecordError: several sites have one.
        """
        with self.open_unit_of_work() as uow:
            holders = uow.timelines.holders(record)
            if not holders:
                raise NotFoundError("no event was read from such a record")
            if len(holders) > 1:
                raise AmbiguousRecordError(f"{len(holders)} sites have it: name one with --site")
            [(site, patients)] = holders.items()
            named = RecordName(
                record_type=record.record_type,
                record_id=record.record_id,
                version=record.version,
                site=site,
            )
            merges = uow.retractions.merges(patients)
            rested_on = tuple(
                prediction_id
                for patient_id in sorted(merges.above(patients))
                for prediction_id in self._rested_on(uow, patient_id, named)
            )
        return Target(
            kind=RecallKind.INPUT,
            name=f"{site} {named.reference}",
            touched=Touched(prediction_ids=rested_on),
            patient_id=next(iter(patients)) if len(patients) == 1 else None,
        )

    def findings(self, target: Target) -> Findings:
        """How much it touched, who signed and who read; changes nothing."""
        with self.open_unit_of_work() as uow:
            return uow.recalls.findings(target.touched)

    def signed(self, target: Target, limit: int) -> list[TouchedPrediction]:
        """What was signed, the newest signature first."""
        with self.open_unit_of_work() as uow:
            return uow.recalls.signed(target.touched, limit)

    def all_touched(self, target: Target) -> Iterator[TouchedPrediction]:
        """Every prediction that it touched, streamed."""
        with self.open_unit_of_work() as uow:
            yield from uow.recalls.all_touched(target.touched)

    def recall(self, target: Target, by: str, concern: Concern, note: str = "") -> Recalled:
        """Withdraw the open reviews, mark the signed ones; each is an audit entry of its own."""
        act = Act(actor=by, at=self.clock.now())
        recall, is_new = self._recall(target, act, concern, note)
        num_withdrawn = self._withdraw(recall, target.touched, act)
        num_to_look_at = self._ask_relooks(recall, target.touched, act)
        return Recalled(
            recall=recall,
            is_new=is_new,
            num_withdrawn=num_withdrawn,
            num_to_look_at=num_to_look_at,
        )

    def look_again(self, review_id: UUID, act: Act) -> None:
        """Note that the actor has looked again at a signed review; what was signed stands as it is.

        Raises:
            NotFoundError, NotToLookAtError
        """
        with self.open_unit_of_work() as uow:
            uow.reviews.get(review_id)
            if not uow.recalls.looked_again(review_id, act.actor, act.at):
                raise NotToLookAtError("nobody asked for another look, or somebody has looked")
            uow.audit_log.append(
                act.entry(self.identities.new(), AuditKind.REVIEW_LOOKED_AGAIN, review=review_id)
            )
            uow.commit()

    def _rested_on(self, uow: UnitOfWork, patient_id: UUID, record: RecordName) -> Iterator[UUID]:
        timeline = uow.timelines.of(patient_id)
        events = [event for event in timeline.versions if _is_of(event.event.source, record)]
        for _, prediction_id, as_of, received_by in uow.recalls.asked_of([patient_id]):
            # Cheap first: most questions are older or younger than the record by far. What is under
            # another record may have been of this patient for a while only.
            if timeline.person is None and not any(
                known.event.received_at <= received_by and known.event.available_at <= as_of
                for known in events
            ):
                continue
            if _stood(timeline.cut(as_of, received_by=received_by), record):
                yield prediction_id

    def _recall(self, target: Target, act: Act, concern: Concern, note: str) -> tuple[Recall, bool]:
        recall = Recall(
            recall_id=self.identities.new(),
            kind=target.kind,
            target=target.name,
            concern=concern,
            note=note,
            by=act.actor,
            at=act.at,
            patient_id=target.patient_id,
        )
        with self.open_unit_of_work() as uow:
            if not uow.recalls.add(recall):
                held = uow.recalls.find(target.kind, target.name)
                assert held is not None, "a recall that could not be added is held"
                return held, False
            uow.audit_log.append(self._entry(recall, act))
            uow.commit()
        return recall, True

    def _entry(self, recall: Recall, act: Act) -> AuditEntry:
        identity = self.identities.new()
        if recall.kind is RecallKind.MODEL:
            return act.entry(
                identity,
                AuditKind.MODEL_RECALLED,
                recall=recall.recall_id,
                model=recall.target,
                why=recall.concern,
            )
        # The EHR's id of a record says whose it is: it stays in the table of recalls.
        return act.entry(
            identity, AuditKind.INPUT_RECALLED, recall=recall.recall_id, why=recall.concern
        )

    def _withdraw(self, recall: Recall, touched: Touched, act: Act) -> int:
        num_withdrawn = 0
        while True:
            with self.open_unit_of_work() as uow:
                reviews = uow.recalls.open_reviews(touched, _AT_ONCE)
                for review in reviews:
                    uow.reviews.update(review.withdraw(act.at, f"recall {recall.recall_id}"))
                self._tell(
                    uow, act, AuditKind.REVIEW_WITHDRAWN, recall, [r.review_id for r in reviews]
                )
                uow.commit()
            num_withdrawn += len(reviews)
            if len(reviews) < _AT_ONCE:
                return num_withdrawn

    def _ask_relooks(self, recall: Recall, touched: Touched, act: Act) -> int:
        num_marked, after = 0, None
        while True:
            with self.open_unit_of_work() as uow:
                marked, after = uow.recalls.ask_relooks(
                    recall, touched, act.at, after=after, limit=_AT_ONCE
                )
                self._tell(uow, act, AuditKind.REVIEW_RELOOK, recall, marked)
                owe_take_backs(uow, marked, act.at, self.identities)
                uow.commit()
            num_marked += len(marked)
            if after is None:
                return num_marked

    def _tell(
        self, uow: UnitOfWork, act: Act, kind: AuditKind, recall: Recall, review_ids: list[UUID]
    ) -> None:
        append_all(
            uow.audit_log,
            (
                act.entry(self.identities.new(), kind, review=each, recall=recall.recall_id)
                for each in review_ids
            ),
        )


def _stood(timeline: Timeline, record: RecordName) -> bool:
    """Whether a version of the record stood at the cut: superseded ones were not read."""
    return any(_is_of(event.source, record) for event in timeline.events)


def _is_of(source: Source, record: RecordName) -> bool:
    return (
        source.record_type == record.record_type
        and source.record_id == record.record_id
        and source.site == record.site
        and record.version in ("", source.version)
    )
