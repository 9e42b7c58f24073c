"""Plans compared for a review: asked of the model, stored with what it rests on, and audited."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.prediction.action import Action
from clinical.prediction.circumstances import deliveries_of, received_of
from clinical.prediction.library import CareLibrary, PlanWishes
from clinical.prediction.outcome import Risk
from clinical.prediction.plan import (
    Goal,
    PlanChoice,
    PlanDecision,
    PlanQuestion,
    StoredComparison,
)
from clinical.prediction.prediction import Prediction
from clinical.prediction.request import Purpose
from clinical.services.admission import admit
from clinical.services.ports import Clock, Identities, OpenUnitOfWork, PlanModel, UnitOfWork
from clinical.timeline.timeline import Timeline

_MAX_LISTED = 20
_DRAFTS = "draft-orders"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedDecision:
    """A decision of the library, and the names of those of its choices that the model can plan."""

    decision: PlanDecision
    plannable: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftOrder:
    """An order that was written and not signed, as the action that it would be.

    `reference` is the draft's own `type/id`; `action` is None where it is none, or was not understood.
    """

    reference: str
    label: str
    action: Action | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrdersCompared:
    """The course with the orders and with no change; None where the model can plan none of them.

    `unknown` are the labels of those that it cannot plan: they are in no course.
    """

    stored: StoredComparison | None
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningService:
    """Compares what a clinician picks from the library, as of the moment that the review is about."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    models: PlanModel
    library: CareLibrary
    is_first_model_trusted: bool = True

    def offered(self) -> tuple[OfferedDecision, ...]:
        """Every decision of the library, and what of it the model that serves can plan.

        Raises:
            ModelUnavailableError, ModelBusyError
        """
        actions = self.library.actions
        told = dict(zip(actions, self.models.plannable(actions), strict=True))
        return tuple(
            OfferedDecision(
                decision=decision,
                plannable=frozenset(
                    choice.name
                    for choice in decision.choices
                    if all(told[action.code.key] for action in choice.actions)
                ),
            )
            for decision in self.library.decisions
        )

    def compare(self, review_id: UUID, act: Act, wishes: PlanWishes) -> StoredComparison:
        """Ask the model, and store its answer and the audit entry in one commit.

        Raises:
            NotFoundError, NotInLibraryError, MalformedPlanQuestionError
            UnknownPlanActionError, UnusableGoalError
            ModelUnavailableError, ModelBusyError
            ModelStoppedError, ModelNotPromotedError
        """
        about, cut = self._about(review_id)
        question = self._question(
            about,
            tuple(self.library.decision(*picked) for picked in wishes.decisions),
            tuple(self.library.goal(name) for name in wishes.goals),
            wishes.risks,
        )
        return self._compared(review_id, act, question, cut)

    def compare_orders(
        self, review_id: UUID, act: Act, orders: Sequence[DraftOrder], risks: Sequence[Risk]
    ) -> OrdersCompared:
        """The course with these orders, all at once and now, beside that of no change.

        What was answered before to this very question is not asked again.

        Raises:
            NotFoundError, MalformedPlanQuestionError, UnknownPlanActionError
            ModelUnavailableError, ModelBusyError
            ModelStoppedError, ModelNotPromotedError
        """
        keys = tuple(dict.fromkeys(o.action.code.key for o in orders if o.action is not None))
        told = dict(zip(keys, self.models.plannable(keys), strict=True)) if keys else {}
        known = {o.reference: o for o in orders if o.action and told[o.action.code.key]}
        unknown = tuple(order.label for order in orders if order.reference not in known)
        if not known:
            return OrdersCompared(stored=None, unknown=unknown)
        about, cut = self._about(review_id)
        question = self._question(about, (_drafted(list(known.values())),), (), tuple(risks))
        with self.open_unit_of_work() as uow:
            before = uow.plan_comparisons.find(
                review_id,
                config_digest=question.config_digest,
                manifest_digest=about.forecast.capsule.model.manifest_digest,
            )
        stored = before or self._compared(review_id, act, question, cut)
        return OrdersCompared(stored=stored, unknown=unknown)

    def of_review(self, review_id: UUID) -> list[StoredComparison]:
        """What was compared for the review, the newest first; raises NotFoundError."""
        with self.open_unit_of_work() as uow:
            uow.reviews.get(review_id)
            return uow.plan_comparisons.of_review(review_id, limit=_MAX_LISTED)

    def _about(self, review_id: UUID) -> tuple[Prediction, Timeline]:
        """The prediction under review, and what it saw."""
        with self.open_unit_of_work() as uow:
            review = uow.reviews.get(review_id)
            about = uow.predictions.get(review.prediction_id)
            asked = about.request
            cut = uow.timelines.of(review.patient_id).cut(
                asked.as_of, received_by=asked.received_by
            )
        return about, cut

    def _question(
        self,
        about: Prediction,
        decisions: tuple[PlanDecision, ...],
        goals: tuple[Goal, ...],
        risks: tuple[Risk, ...],
    ) -> PlanQuestion:
        asked = about.request
        return PlanQuestion(
            comparison_id=self.identities.new(),
            patient_id=asked.patient_id,
            as_of=asked.as_of,
            received_by=asked.received_by,
            decisions=decisions,
            goals=goals,
            risks=risks,
            rules=self.library.rules,
        )

    def _compared(
        self, review_id: UUID, act: Act, question: PlanQuestion, cut: Timeline
    ) -> StoredComparison:
        """Ask the model, and store what it says."""
        with self.open_unit_of_work() as uow:
            received = received_of(cut, uow.inbox.digests(deliveries_of(cut)))
        said = self.models.compare_plans(question, cut)
        stored = StoredComparison(
            question=question,
            comparison=replace(said, capsule=replace(said.capsule, received=received)),
            review_id=review_id,
            asked_by=act.actor,
            made_at=self.clock.now(),
        )
        with self.open_unit_of_work() as uow:
            admit(
                uow,
                stored.comparison.capsule.model,
                act,
                self.identities,
                is_first_trusted=self.is_first_model_trusted,
            )
            uow.commit()
        with self.open_unit_of_work() as uow:
            self._store(uow, stored, act)
            uow.commit()
        return stored

    def _store(self, uow: UnitOfWork, stored: StoredComparison, act: Act) -> None:
        capsule = stored.comparison.capsule
        # Nobody stops it from here to the commit.
        model = uow.models.share(capsule.model.manifest_digest)
        assert model is not None, "it was admitted"
        model.require_answers(Purpose.REVIEW)
        uow.plan_comparisons.add(stored)
        uow.audit_log.append(
            act.sealing(
                self.identities.new(),
                AuditKind.PLANS_COMPARED,
                self.identities.salt(),
                stored.sealed_content,
                comparison=stored.question.comparison_id,
                review=stored.review_id,
                model=capsule.model.manifest_digest,
                config=capsule.config_digest,
            )
        )


def _drafted(orders: Sequence[DraftOrder]) -> PlanDecision:
    """One decision: to do all of it now, each thing once, or to change nothing."""
    actions = {(o.action.kind, o.action.code.key): o.action for o in orders if o.action}
    label = "; ".join(dict.fromkeys(order.label for order in orders))
    drafted = PlanChoice(name="as-drafted", label=label, actions=tuple(actions.values()))
    return PlanDecision(
        name=_DRAFTS, label="Draft orders", choices=(drafted,), moments=(timedelta(0),)
    )
