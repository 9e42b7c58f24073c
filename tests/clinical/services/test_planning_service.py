"""Plans compared for a review: the shipped model in this process, a real database, one commit."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from adapters.care_plans.reader import read_library
from clinical.audit.entry import AuditKind
from clinical.errors import NotFoundError
from clinical.prediction.abstention import AbstentionReason
from clinical.prediction.library import NotInLibraryError, PlanWishes
from clinical.prediction.outcome import Risk
from clinical.prediction.plan import MalformedPlanQuestionError, UnknownPlanActionError
from clinical.prediction.registry import ModelState
from clinical.prediction.replay import Replay
from clinical.review.review import ReviewState
from clinical.services.planning import PlanningService
from clinical.services.ports import ModelUnavailableError, WorklistQuery
from clinical.services.registry import RegistryService
from clinical.services.replay import OtherModelError
from clinical.timeline.patient import PatientRef
from tests.clinical.services.conftest import World
from tests.planning import LocalPlanModel, local_model, shipped_patient

pytestmark = pytest.mark.integration
WISHES = PlanWishes(
    decisions=(("influenza-vaccine", ()), ("statin", ("simvastatin-10",))),
    goals=("systolic-below-130",),
)


class AwayModel:
    """Nobody answers."""

    def plannable(self, *_asked: object) -> tuple[bool, ...]:
        raise ModelUnavailableError("away")

    compare_plans: Any = plannable


def planning(world: World, models: Any = None) -> PlanningService:
    """The service, with the shipped model promoted; it is not the first model of this world."""
    registry = RegistryService(
        open_unit_of_work=world.open_unit_of_work, clock=world.clock, identities=world.identities
    )
    shipped = local_model().planner.inference.fingerprint
    if registry.register(shipped, "anna").state is ModelState.REGISTERED:
        registry.propose(shipped.manifest_digest, "anna")
        registry.promote(shipped.manifest_digest, "ben")
    return PlanningService(
        open_unit_of_work=world.open_unit_of_work,
        clock=world.clock,
        identities=world.identities,
        models=models or local_model(),
        library=read_library(),
    )


@pytest.fixture
def review_id(world: World) -> UUID:
    """A review of a shipped patient."""
    events = list(shipped_patient())
    patient_id = events[0].patient_id
    received = world.clock.now()
    with world.open_unit_of_work() as uow:
        uow.timelines.add(
            [replace(event, received_at=received) for event in events],
            {patient_id: PatientRef("sample", "p")},
        )
        uow.commit()
    world.predictions.make(patient_id, world.act())
    with world.open_unit_of_work() as uow:
        [review] = uow.reviews.worklist(WorklistQuery(states=frozenset(ReviewState)))
    return review.review_id


def test_a_comparison_is_stored_with_its_capsule_and_its_audit_entry(
    world: World, review_id: UUID
) -> None:
    service = planning(world)
    stored = service.compare(review_id, world.act("dr-a"), WISHES)
    assert stored.comparison.abstention is None
    assert stored.asked_by == "dr-a"
    assert service.of_review(review_id) == [stored]
    with world.open_unit_of_work() as uow:
        again = uow.plan_comparisons.get(stored.question.comparison_id)
        prediction = uow.predictions.get(uow.reviews.get(review_id).prediction_id)
    assert again == stored
    assert again.comparison.output_digest == stored.comparison.output_digest
    assert stored.question.as_of == prediction.request.as_of
    [entry] = world.history(comparison=str(stored.question.comparison_id))
    assert entry.kind is AuditKind.PLANS_COMPARED
    assert entry.refs["review"] == str(review_id)
    assert world.stands_for(entry, **stored.sealed_content)
    capsule = stored.comparison.capsule
    registered = {e.kind for e in world.history(model=capsule.model.manifest_digest)}
    assert registered == {
        AuditKind.MODEL_REGISTERED,
        AuditKind.MODEL_PROPOSED,
        AuditKind.MODEL_PROMOTED,
        AuditKind.PLANS_COMPARED,
    }


def test_a_stored_comparison_is_replayed_to_the_bit_and_an_edited_one_is_found(
    world: World, review_id: UUID, engine: Engine
) -> None:
    stored = planning(world).compare(review_id, world.act("dr-a"), WISHES)
    shipped = stored.comparison.capsule.model
    replays = replace(world.replays, planner=local_model())
    with pytest.raises(OtherModelError):
        replays.replay(stored.question.comparison_id)
    world.models.fingerprint = lambda: shipped  # type: ignore[method-assign]
    replayed = replays.replay(stored.question.comparison_id)
    assert (replayed.subject, replayed.recomputed.replay) == ("comparison", Replay.EQUAL)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("UPDATE plan_comparisons SET num_considered = 1"))
    assert replays.replay(stored.question.comparison_id).recomputed.replay is Replay.DIFFERENT


def test_the_same_wishes_get_the_same_answer_and_the_newest_comes_first(
    world: World, review_id: UUID
) -> None:
    service = planning(world)
    first = service.compare(review_id, world.act(), WISHES)
    second = service.compare(review_id, world.act(), WISHES)
    assert first.comparison == second.comparison
    assert [s.question.comparison_id for s in service.of_review(review_id)] == [
        second.question.comparison_id,
        first.question.comparison_id,
    ]


def test_an_abstention_is_stored_too(world: World, review_id: UUID) -> None:
    service = planning(world, local_model(None))
    stored = service.compare(review_id, world.act(), WISHES)
    assert stored.comparison.abstention is not None
    assert stored.comparison.abstention.reason is AbstentionReason.SUPPORT_UNKNOWN
    assert service.of_review(review_id) == [stored]


def test_what_the_library_offers_says_what_the_model_can_plan(world: World) -> None:
    offered = {o.decision.name: o.plannable for o in planning(world).offered()}
    assert offered["influenza-vaccine"] == {"give"}
    assert offered["statin"] == {"simvastatin-10"}  # the model met 20 mg too rarely
    none = planning(world, local_model(None)).offered()
    assert all(not each.plannable for each in none)


@pytest.mark.parametrize(
    ("wishes", "error"),
    [
        (replace(WISHES, goals=("nonsense",)), NotInLibraryError),
        (replace(WISHES, decisions=(("nonsense", ()),)), NotInLibraryError),
        (replace(WISHES, goals=()), MalformedPlanQuestionError),
        (replace(WISHES, decisions=()), MalformedPlanQuestionError),
        (replace(WISHES, decisions=(("statin", ()),)), UnknownPlanActionError),
        (replace(WISHES, risks=(Risk.DEATH, Risk.DEATH)), MalformedPlanQuestionError),
    ],
)
def test_wishes_that_cannot_be_answered_leave_nothing_behind(
    world: World, review_id: UUID, wishes: PlanWishes, error: type[Exception]
) -> None:
    service = planning(world)
    with pytest.raises(error):
        service.compare(review_id, world.act(), wishes)
    assert service.of_review(review_id) == []


def test_a_model_that_is_away_leaves_nothing_behind(world: World, review_id: UUID) -> None:
    service = planning(world, AwayModel())
    for ask in (lambda: service.compare(review_id, world.act(), WISHES), service.offered):
        with pytest.raises(ModelUnavailableError):
            ask()
    assert service.of_review(review_id) == []


def test_nothing_is_compared_for_a_review_that_is_not_there(world: World) -> None:
    service = planning(world)
    for ask in (
        lambda: service.compare(UUID(int=9), world.act(), WISHES),
        lambda: service.of_review(UUID(int=9)),
    ):
        with pytest.raises(NotFoundError):
            ask()
    with world.open_unit_of_work() as uow, pytest.raises(NotFoundError):
        uow.plan_comparisons.get(UUID(int=9))


def test_the_local_model_is_the_port() -> None:
    assert isinstance(local_model(), LocalPlanModel)
