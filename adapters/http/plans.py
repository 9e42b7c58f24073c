"""The planning API: what can be compared, comparing it for a review, and reading it back.

Knows who asks and how a comparison is shown. What may be planned is the domain's and the model's matter.
"""

from datetime import timedelta
from uuid import UUID

from fastapi import APIRouter, Request, status

from adapters.http import plan_schemas as shapes
from adapters.http.dependencies import Given
from adapters.http.items import estimates_of, withheld_of, words_of
from adapters.http.schemas import Model, problems
from adapters.http.sessions import FromOurPage, SignedInClinician, act_of
from clinical.prediction.library import PlanWishes
from clinical.prediction.plan import (
    COURSE_UNDER_PLAN,
    PLANNABLE_RISKS,
    PlanOption,
    StoredComparison,
)
from clinical.prediction.readout import Readout
from clinical.services.planning import OfferedDecision

_DAY = timedelta(days=1)

routes = APIRouter(prefix="/v1", tags=["plans"])


@routes.get("/plan-library", responses=problems(401, 403, 503))
def library(_session: SignedInClinician, given: Given) -> shapes.PlanLibraryShape:
    """The care-plan library, and what of it the model that serves can plan."""
    held = given.planning.library
    return shapes.PlanLibraryShape(
        name=held.name,
        version=held.version,
        source=held.source,
        wording=COURSE_UNDER_PLAN,
        decisions=[_decision(offered) for offered in given.planning.offered()],
        goals=[shapes.GoalShape(name=goal.name, label=goal.label) for goal in held.goals],
        risks=list(PLANNABLE_RISKS),
    )


@routes.post(
    "/reviews/{review_id}/plan-comparisons",
    dependencies=[FromOurPage],
    status_code=status.HTTP_201_CREATED,
    responses=problems(401, 403, 404, 409, 422, 503),
)
def compare(
    review_id: UUID,
    wishes: shapes.PlanWishesShape,
    session: SignedInClinician,
    request: Request,
    given: Given,
) -> shapes.PlanComparisonShape:
    """Compare plans as of the moment that the review is about; stored, and entered in the audit log."""
    stored = given.planning.compare(
        review_id,
        act_of(session, request, given),
        PlanWishes(
            decisions=tuple((pick.name, tuple(pick.choices)) for pick in wishes.decisions),
            goals=tuple(wishes.goals),
            risks=tuple(wishes.risks),
        ),
    )
    return _comparison(stored)


@routes.get("/reviews/{review_id}/plan-comparisons", responses=problems(401, 403, 404, 422))
def comparisons(
    review_id: UUID, session: SignedInClinician, request: Request, given: Given
) -> shapes.PlanComparisonsShape:
    """What was compared for the review, the newest first; that it was read is audited too."""
    stored = given.planning.of_review(review_id)
    given.reviews.note_read(review_id, act_of(session, request, given), "plans")
    return shapes.PlanComparisonsShape(comparisons=[_comparison(each) for each in stored])


def _decision(offered: OfferedDecision) -> shapes.PlanDecisionShape:
    decision = offered.decision
    return shapes.PlanDecisionShape(
        name=decision.name,
        label=decision.label,
        after_days=[moment / _DAY for moment in decision.moments],
        choices=[
            shapes.PlanChoiceShape(
                name=choice.name,
                label=choice.label,
                is_plannable=choice.name in offered.plannable,
            )
            for choice in decision.choices
        ],
    )


def _comparison(stored: StoredComparison) -> shapes.PlanComparisonShape:
    question, comparison = stored.question, stored.comparison
    capsule = comparison.capsule
    return shapes.PlanComparisonShape(
        comparison_id=question.comparison_id,
        asked_by=stored.asked_by,
        made_at=stored.made_at,
        as_of=question.as_of,
        wording=COURSE_UNDER_PLAN,
        decisions=[decision.label for decision in question.decisions],
        goals=[goal.label for goal in question.goals],
        risks=list(question.risks),
        withheld=withheld_of(comparison.abstention),
        options=[_option(option) for option in comparison.options],
        excluded=[
            shapes.ExcludedShape(label=e.label, constraint=e.constraint, detail=e.detail)
            for e in comparison.excluded
        ],
        num_considered=comparison.num_considered,
        input_digest=capsule.input_digest,
        config_digest=capsule.config_digest,
        output_digest=comparison.output_digest,
        model=Model(
            name=capsule.model.name,
            version=capsule.model.version,
            manifest_digest=capsule.model.manifest_digest,
            vocabulary_digest=capsule.model.vocabulary_digest,
        ),
    )


def _option(option: PlanOption) -> shapes.PlanOptionShape:
    courses: dict[str, list[Readout]] = {}
    for readout in option.readouts:
        courses.setdefault(readout.name, []).append(readout)
    return shapes.PlanOptionShape(
        taken=[
            shapes.TakenShape(
                decision=taken.decision_label,
                choice=taken.choice,
                label=taken.label,
                after_days=taken.after / _DAY,
            )
            for taken in option.taken
        ],
        energy=option.energy,
        parts=[shapes.EnergyPartShape(name=p.name, amount=p.amount) for p in option.parts],
        support=option.support,
        least_usual=option.least_usual,
        courses=[
            shapes.PlanCourse(
                name=name,
                label=words_of(name),
                unit=readouts[0].unit,
                estimates=estimates_of(readouts),
            )
            for name, readouts in courses.items()
        ],
    )
