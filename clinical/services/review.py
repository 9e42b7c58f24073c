"""J3: a clinician claims a review and decides."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.review.decision import Decision, Reason, Verdict
from clinical.review.review import Review, StaleVersionError
from clinical.review.writeback import may_be_written_back
from clinical.services.messages import Message, MessageKind, key_of
from clinical.services.ports import Clock, Identities, OpenUnitOfWork, UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewService:
    """Moves reviews; `writes_back` are the sites whose EHR is told what was decided, none unless said."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    writes_back: Collection[str] = ()

    def claim(self, review_id: UUID, act: Act, *, expected_version: int) -> Review:
        """Take the review for the actor, or extend the actor's lease.

        Raises:
            NotFoundError, StaleVersionError, ClosedError, HeldByAnotherError
        """
        with self.open_unit_of_work() as uow:
            review = self._expect(uow, review_id, expected_version).claim(act.actor, act.at)
            self._store(uow, review, act, AuditKind.REVIEW_CLAIMED, {})
            uow.commit()
        return review

    def release(self, review_id: UUID, act: Act, *, expected_version: int) -> Review:
        """Put the review back in the queue.

        Raises:
            NotFoundError, StaleVersionError, ClosedError, NotHolderError
        """
        with self.open_unit_of_work() as uow:
            review = self._expect(uow, review_id, expected_version).release(act.actor, act.at)
            self._store(uow, review, act, AuditKind.REVIEW_RELEASED, {})
            uow.commit()
        return review

    def sign(
        self,
        review_id: UUID,
        act: Act,
        *,
        expected_version: int,
        verdict: Verdict,
        reasons: tuple[Reason, ...] = (),
        note: str = "",
    ) -> tuple[Review, Decision]:
        """Close the review with the actor's decision; owe a write-back where the site wants one.

        Raises:
            NotFoundError, StaleVersionError, ClosedError, NotHolderError
        """
        with self.open_unit_of_work() as uow:
            review = self._expect(uow, review_id, expected_version).sign(act.actor, act.at)
            prediction = uow.predictions.get(review.prediction_id)
            decision = Decision(
                decision_id=self.identities.new(),
                review_id=review_id,
                verdict=verdict,
                reasons=reasons,
                note=note,
                decided_by=act.actor,
                decided_at=act.at,
                prediction_digest=prediction.forecast.output_digest,
            )
            # The review first: of two signatures at once, its version lets one through.
            self._store(
                uow,
                review,
                act,
                AuditKind.REVIEW_SIGNED,
                decision.sealed_content,
                decision=decision.decision_id,
                verdict=verdict,
            )
            uow.reviews.add_decision(decision)
            if may_be_written_back(prediction, decision) and self._is_told(uow, review):
                self._owe_write_back(uow, review_id, act)
            uow.commit()
        return review, decision

    def note_read(self, review_id: UUID, act: Act) -> None:
        """Remember in the audit log that the actor opened the item."""
        with self.open_unit_of_work() as uow:
            uow.audit_log.append(
                act.entry(self.identities.new(), AuditKind.REVIEW_READ, review=review_id)
            )
            uow.commit()

    def _expect(self, uow: UnitOfWork, review_id: UUID, expected_version: int) -> Review:
        review = uow.reviews.get(review_id)
        if review.version != expected_version:
            raise StaleVersionError("the review has changed since it was read")
        return review

    def _store(
        self,
        uow: UnitOfWork,
        review: Review,
        act: Act,
        kind: AuditKind,
        content: Mapping[str, object],
        **refs: object,
    ) -> None:
        uow.reviews.update(review)
        uow.audit_log.append(
            act.sealing(
                self.identities.new(),
                kind,
                self.identities.salt(),
                content,
                review=review.review_id,
                version=review.version,
                **refs,
            )
        )

    def _is_told(self, uow: UnitOfWork, review: Review) -> bool:
        return bool(self.writes_back) and (
            uow.timelines.patient(review.patient_id).site in self.writes_back
        )

    def _owe_write_back(self, uow: UnitOfWork, review_id: UUID, act: Act) -> None:
        message = Message(
            message_id=self.identities.new(),
            kind=MessageKind.WRITE_BACK,
            subject_id=review_id,
            created_at=act.at,
            coalesce_key=key_of(MessageKind.WRITE_BACK, review_id),
        )
        uow.outbox.add(message)
        uow.audit_log.append(
            act.entry(self.identities.new(), AuditKind.WRITEBACK_QUEUED, review=review_id)
        )
