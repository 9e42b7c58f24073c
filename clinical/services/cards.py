"""Cards for an EHR: what is stored of a patient now, what may be shown of it, and what came back.

Answers from what is stored; nobody waits for a model here. Does not know how a card is worded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.errors import NotFoundError
from clinical.prediction.prediction import Prediction
from clinical.prediction.registry import ModelState
from clinical.prediction.request import Purpose
from clinical.review.card import CardFeedback, CardVerdict, ShownCard
from clinical.review.recall import RecallKind
from clinical.review.review import Review, ReviewState
from clinical.services.messages import Message, MessageKind, Urgency, key_of
from clinical.services.ports import Clock, Identities, OpenUnitOfWork, UnitOfWork


class UnknownCardError(NotFoundError):
    """This site was never shown such a card."""

    code = "cards.unknown_card"


class Silence(StrEnum):
    """Why no forecast is shown."""

    UNKNOWN_PATIENT = "unknown_patient"  # nothing is held about the patient
    PENDING = "pending"  # no forecast was made yet
    MODEL_NOT_IN_USE = "model_not_in_use"  # the model that made it was stopped
    WITHDRAWN = "withdrawn"  # it, or what it rested on, was recalled or taken back
    OUTLIVED = "outlived"  # every window that it speaks of is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Which hook of which site was called; `user` names a professional or is empty."""

    site: str
    service: str
    hook: str
    instance: str = ""
    user: str = ""

    @property
    def refs(self) -> dict[str, str]:
        """For the audit entry."""
        named = {
            "site": self.site,
            "service": self.service,
            "hook": self.hook,
            "instance": self.instance,
            "user": self.user,
        }
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A stored forecast that may be shown, with its review if it has one; or why none may be."""

    prediction: Prediction | None = None
    review: Review | None = None
    silence: Silence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidOfCard:
    """One item of feedback as it came."""

    card_id: UUID
    verdict: CardVerdict
    given_at: datetime
    reason_system: str = ""
    reason_code: str = ""
    reason_display: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardService:
    """Says what may be shown, remembers what was, and keeps what was said of it."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities

    def advise(self, patient_id: UUID) -> Advice:
        """The newest stored forecast, or why it is not shown; where it is not, a new one is owed."""
        with self.open_unit_of_work() as uow:
            advice = self._advise(uow, patient_id)
            uow.commit()
        return advice

    def show(self, patient_id: UUID, call: Call, act: Act) -> tuple[Advice, UUID | None]:
        """As `advise`, remembering in the same commit what was shown, or why nothing was.

        Of a forecast, the identity of its card. That of an unknown patient nothing was shown is not
        remembered: whoever asks may yet bring the patient.
        """
        with self.open_unit_of_work() as uow:
            advice, card_id = self._advise(uow, patient_id), None
            if advice.prediction is not None:
                card_id = self._remember(uow, call, act, advice, None)
            elif advice.silence is not Silence.UNKNOWN_PATIENT:
                self._note(uow, call, act, str(advice.silence))
            uow.commit()
        return advice, card_id

    def note_shown(self, call: Call, act: Act, advice: Advice, comparison_id: UUID | None) -> UUID:
        """Remember the card of a forecast, and that it was shown; its identity."""
        with self.open_unit_of_work() as uow:
            card_id = self._remember(uow, call, act, advice, comparison_id)
            uow.commit()
        return card_id

    def note(self, call: Call, act: Act, outcome: str) -> None:
        """Remember a call that was answered without a forecast, and how."""
        with self.open_unit_of_work() as uow:
            self._note(uow, call, act, outcome)
            uow.commit()

    def take_feedback(self, call: Call, act: Act, said: Sequence[SaidOfCard]) -> int:
        """Keep what was said of cards, all or nothing; how much of it was new.

        Raises:
            UnknownCardError: one of the cards was never shown to this site; nothing is kept.
        """
        num_new = 0
        with self.open_unit_of_work() as uow:
            for place, each in enumerate(said):
                card = uow.cards.find(each.card_id, call.site)
                if card is None:
                    raise UnknownCardError(f"feedback[{place}].card: no such card was shown")
                num_new += self._keep(uow, act, _feedback(each, card, act))
            self._note(uow, call, act, "feedback", items=len(said), new=num_new)
            uow.commit()
        return num_new

    def _advise(self, uow: UnitOfWork, patient_id: UUID) -> Advice:
        now = self.clock.now()
        patient_id = uow.retractions.merges([patient_id]).lead(patient_id)  # a merged one: the kept
        advice = _advice(uow, patient_id, now)
        if advice.silence not in (None, Silence.UNKNOWN_PATIENT):
            uow.outbox.add(self._owed(patient_id, now))
        return advice

    def _remember(
        self, uow: UnitOfWork, call: Call, act: Act, advice: Advice, comparison_id: UUID | None
    ) -> UUID:
        assert advice.prediction is not None
        card = ShownCard(
            prediction_id=advice.prediction.request.prediction_id,
            site=call.site,
            hook=call.hook,
            comparison_id=comparison_id,
        )
        told = {"prediction": card.prediction_id, "card": card.card_id}
        if advice.review is not None:
            told["review"] = advice.review.review_id
        if comparison_id is not None:
            told["comparison"] = comparison_id
        uow.cards.add(card)
        self._note(
            uow, call, act, "abstained" if advice.prediction.is_abstained else "shown", **told
        )
        return card.card_id

    def _keep(self, uow: UnitOfWork, act: Act, feedback: CardFeedback) -> bool:
        if not uow.cards.add_feedback(feedback):
            return False
        review = uow.reviews.of_prediction(feedback.prediction_id)
        about = {} if review is None else {"review": review.review_id}
        uow.audit_log.append(
            act.sealing(
                self.identities.new(),
                AuditKind.CARD_FEEDBACK,
                self.identities.salt(),
                feedback.sealed_content,
                feedback=feedback.feedback_id,
                card=feedback.card_id,
                prediction=feedback.prediction_id,
                verdict=feedback.verdict,
                **about,
            )
        )
        return True

    def _note(self, uow: UnitOfWork, call: Call, act: Act, outcome: str, **more: object) -> None:
        refs: dict[str, object] = {**call.refs, "outcome": outcome, **more}
        uow.audit_log.append(act.entry(self.identities.new(), AuditKind.CARDS_ASKED, **refs))

    def _owed(self, patient_id: UUID, now: datetime) -> Message:
        """As the intake owes it, so that one of them is enough."""
        parameters = {"purpose": Purpose.REVIEW.value, "as_of": ""}
        return Message(
            message_id=self.identities.new(),
            kind=MessageKind.PREDICT,
            subject_id=patient_id,
            created_at=now,
            coalesce_key=key_of(MessageKind.PREDICT, patient_id, *parameters.values()),
            parameters=parameters,
            urgency=Urgency.LIVE,  # somebody has the patient before them
        )


def _advice(uow: UnitOfWork, patient_id: UUID, now: datetime) -> Advice:
    prediction = uow.predictions.newest(patient_id, Purpose.REVIEW)
    if prediction is None:
        is_known = _is_known(uow, patient_id)
        return Advice(silence=Silence.PENDING if is_known else Silence.UNKNOWN_PATIENT)
    review = uow.reviews.of_prediction(prediction.request.prediction_id)
    silence = _silence(uow, prediction, review, now)
    if silence is not None:
        return Advice(silence=silence)
    return Advice(prediction=prediction, review=review)


def _is_known(uow: UnitOfWork, patient_id: UUID) -> bool:
    try:
        uow.timelines.patient(patient_id)
    except NotFoundError:
        return False
    return True


def _silence(
    uow: UnitOfWork, prediction: Prediction, review: Review | None, now: datetime
) -> Silence | None:
    digest = prediction.forecast.capsule.model.manifest_digest
    model = uow.models.find(digest)
    if model is None or model.state is not ModelState.PROMOTED:
        return Silence.MODEL_NOT_IN_USE
    recall = uow.recalls.find(RecallKind.MODEL, digest)
    if recall is not None and recall.at >= prediction.made_at:
        return Silence.WITHDRAWN
    if uow.retractions.stale([prediction.request.prediction_id]):
        return Silence.WITHDRAWN
    if review is not None and _is_withdrawn(uow, review):
        return Silence.WITHDRAWN
    return Silence.OUTLIVED if is_outlived(prediction, now) else None


def _is_withdrawn(uow: UnitOfWork, review: Review) -> bool:
    """By a recall, or because what it rested on was; a signed one until somebody looked again."""
    if review.state is ReviewState.WITHDRAWN:
        return True
    return any(mark.looked_at is None for mark in uow.recalls.relooks([review.review_id]))


def is_outlived(prediction: Prediction, now: datetime) -> bool:
    """Whether every window that the forecast speaks of has ended."""
    ends = [readout.horizon.end for readout in prediction.forecast.readouts]
    age = now - prediction.request.as_of
    return bool(ends) and all(end is not None and end <= age for end in ends)


def _feedback(said: SaidOfCard, card: ShownCard, act: Act) -> CardFeedback:
    return CardFeedback(
        card_id=card.card_id,
        prediction_id=card.prediction_id,
        verdict=said.verdict,
        given_at=said.given_at,
        received_at=act.at,
        client=act.actor,
        reason_system=said.reason_system,
        reason_code=said.reason_code,
        reason_display=said.reason_display,
        comment=said.comment,
    )
