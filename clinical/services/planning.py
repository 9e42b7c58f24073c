"""Plans compared for a review: asked of the model, stored with what it rests on, and audited."""

from dataclasses import dataclass, replace
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.prediction.circumstances import deliveries_of, received_of
from clinical.prediction.library import CareLibrary, PlanWishes
from clinical.prediction.plan import PlanDecision, PlanQuestion, StoredComparison
from clinical.prediction.request import Purpose
from clinical.services.admission import admit
from clinical.services.ports import Clock, Identities, OpenUnitOfWork, PlanModel, UnitOfWork

_MAX_LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedDecision:
    """A decision of the library, and the names of those of its choices that the model can plan."""

    decision: PlanDecision
    plannable: frozenset[str]


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
        with self.open_unit_of_work() as uow:
            review = uow.reviews.get(review_id)
            asked = uow.predictions.get(review.prediction_id).request
            cut = uow.timelines.of(review.patient_id).cut(
                asked.as_of, received_by=asked.received_by
            )
            received = received_of(cut, uow.inbox.digests(deliveries_of(cut)))
        question = PlanQuestion(
            comparison_id=self.identities.new(),
            patient_id=review.patient_id,
            as_of=asked.as_of,
            received_by=asked.received_by,
            decisions=tuple(self.library.decision(*picked) for picked in wishes.decisions),
            goals=tuple(self.library.goal(name) for name in wishes.goals),
            risks=wishes.risks,
            rules=self.library.rules,
        )
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

    def of_review(self, review_id: UUID) -> list[StoredComparison]:
        """What was compared for the review, the newest first; raises NotFoundError."""
        with self.open_unit_of_work() as uow:
            uow.reviews.get(review_id)
            return uow.plan_comparisons.of_review(review_id, limit=_MAX_LISTED)

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
