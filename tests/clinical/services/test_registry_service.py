"""The registry on a real database: two people, one stop, and no answer after it."""

import threading
from dataclasses import replace
from functools import partial
from uuid import UUID

import pytest

from clinical.audit.entry import AuditKind
from clinical.errors import NotFoundError
from clinical.prediction.prediction import ModelFingerprint
from clinical.prediction.registry import (
    Concern,
    ModelMove,
    ModelNotPromotedError,
    ModelState,
    ModelStoppedError,
    RegisteredModel,
    SamePersonError,
)
from clinical.prediction.request import Purpose
from clinical.review.review import ReviewState
from clinical.services.ports import WorklistQuery
from clinical.services.registry import AmbiguousModelError, RegistryService
from tests.clinical.builders import PATIENT, event, hours
from tests.clinical.services.conftest import World
from tests.clinical.services.test_prediction_and_review_services import add, recorded
from tests.fakes import MODEL
from tests.ports.together import together

pytestmark = pytest.mark.integration
OTHER = ModelFingerprint(
    name="other", version="2", manifest_digest="0a" * 32, vocabulary_digest="0b" * 32
)


@pytest.fixture
def registry(world: World) -> RegistryService:
    return RegistryService(
        open_unit_of_work=world.open_unit_of_work, clock=world.clock, identities=world.identities
    )


def num_predictions(world: World) -> int:
    with world.open_unit_of_work() as uow:
        return len(list(uow.predictions.all()))


def untrusting(world: World) -> World:
    return replace(world, predictions=replace(world.predictions, is_first_model_trusted=False))


def test_the_first_model_of_a_site_is_installed_and_that_is_on_record(
    world: World, registry: RegistryService
) -> None:
    recorded(world).predictions.make(PATIENT, world.act("worker"))
    model, history = registry.show(MODEL.name)
    assert model.state is ModelState.PROMOTED
    assert [(step.move, step.by) for step in history] == [
        (ModelMove.REGISTERED, "worker"),
        (ModelMove.INSTALLED, "worker"),
    ]
    kinds = {entry.kind for entry in world.history(model=MODEL.manifest_digest)}
    assert {AuditKind.MODEL_REGISTERED, AuditKind.MODEL_INSTALLED} <= kinds


def test_a_second_model_waits_for_two_people_and_only_then_answers(
    world: World, registry: RegistryService
) -> None:
    registry.register(OTHER, "anna")
    registry.stop(OTHER.manifest_digest, "anna", Concern.OTHER)  # a decision: nothing is first now
    recorded(world)
    with pytest.raises(ModelNotPromotedError):
        world.predictions.make(PATIENT, world.act())
    assert num_predictions(world) == 0
    registry.propose(MODEL.manifest_digest[:8], "anna")
    with pytest.raises(SamePersonError):
        registry.promote(MODEL.name, "Anna")
    registry.promote(MODEL.name, "ben")
    world.predictions.make(PATIENT, world.act())
    assert num_predictions(world) == 1


def test_where_not_even_the_first_is_trusted_it_waits_but_may_be_asked_of_the_past(
    world: World,
) -> None:
    world = untrusting(recorded(world))
    with pytest.raises(ModelNotPromotedError):
        world.predictions.make(PATIENT, world.act())
    world.predictions.make(PATIENT, world.act(), purpose=Purpose.RETROSPECTIVE, as_of=hours(4))
    assert num_predictions(world) == 1


def test_a_stopped_model_is_not_even_asked_and_nothing_of_it_is_stored(
    world: World, registry: RegistryService
) -> None:
    recorded(world).predictions.make(PATIENT, world.act())
    registry.stop("fake", "anna", Concern.SAFETY, "harm reported")
    add(world, event("new", at=20, received=20))
    asked = world.models.num_asked
    for purpose in Purpose:
        with pytest.raises(ModelStoppedError):
            world.predictions.make(PATIENT, world.act(), purpose=purpose)
    assert world.models.num_asked == asked
    assert num_predictions(world) == 1
    [stopped] = [e for e in world.history(why="safety") if e.kind is AuditKind.MODEL_STOPPED]
    assert "harm" not in str(stopped.refs)


def test_an_answer_given_before_the_stop_and_stored_after_it_is_refused(
    world: World, registry: RegistryService
) -> None:
    """The model is stopped while it computes: the very transaction that would store it looks."""
    recorded(world).predictions.make(PATIENT, world.act())
    add(world, event("new", at=20, received=20))
    honest = world.models.answer

    def answer_slowly(*question: object) -> object:
        answered = honest(*question)  # type: ignore[arg-type]
        registry.stop("fake", "anna", Concern.SAFETY)
        return answered

    world.models.answer = answer_slowly  # type: ignore[method-assign,assignment]
    with pytest.raises(ModelStoppedError):
        world.predictions.make(PATIENT, world.act())
    assert num_predictions(world) == 1
    with world.open_unit_of_work() as uow:
        assert uow.reviews.count(WorklistQuery(states=frozenset({ReviewState.QUEUED}))) == 1


def test_a_stop_waits_for_the_answer_being_stored_and_none_is_stored_after_it(
    world: World, registry: RegistryService
) -> None:
    recorded(world).predictions.make(PATIENT, world.act())
    stopping = threading.Thread(
        target=registry.stop, args=(MODEL.manifest_digest, "anna", Concern.DRIFT)
    )
    with world.open_unit_of_work() as uow:
        shared = uow.models.share(MODEL.manifest_digest)
        assert shared is not None
        stopping.start()
        stopping.join(0.3)
        assert stopping.is_alive()
    stopping.join(20)
    assert registry.show("fake")[0].state is ModelState.STOPPED


def test_stopping_again_changes_nothing_and_promoting_again_takes_two(
    world: World, registry: RegistryService
) -> None:
    recorded(world).predictions.make(PATIENT, world.act())
    first = registry.stop("fake", "anna", Concern.SAFETY)
    assert registry.stop("fake", "ben", Concern.OTHER) == first
    registry.propose("fake", "anna")
    registry.stop("fake", "eva", Concern.OTHER)
    assert registry.show("fake")[0].proposed_by is None
    registry.propose("fake", "anna")
    assert registry.promote("fake", "ben").state is ModelState.PROMOTED


def test_of_many_who_promote_at_once_one_does_and_a_proposal_counts_for_one(
    world: World, registry: RegistryService
) -> None:
    registry.register(OTHER, "anna")
    registry.propose("other", "anna")

    people = ("anna", "ben", "eva", "ANNA")
    outcomes = together([partial(registry.promote, "other", who) for who in people])
    promoted = [isinstance(outcome, RegisteredModel) for outcome in outcomes]
    assert sum(promoted) == 1
    assert not promoted[0]
    assert not promoted[3]
    moves = [step.move for step in registry.show("other")[1]]
    assert moves == [ModelMove.REGISTERED, ModelMove.PROPOSED, ModelMove.PROMOTED]


def test_two_first_models_at_once_are_not_both_installed(world: World) -> None:
    recorded(world)
    second = replace(
        world.predictions, models=_Called(world, OTHER), identities=type(world.identities)(9)
    )

    services = (world.predictions, second)
    act = world.act()
    outcomes = together([partial(service.make, PATIENT, act) for service in services])
    refused = [outcome for outcome in outcomes if not isinstance(outcome, UUID)]
    assert [type(outcome) for outcome in refused] == [ModelNotPromotedError]
    assert num_predictions(world) == 1


def test_a_model_is_named_by_digest_prefix_or_name_if_that_is_one(
    registry: RegistryService,
) -> None:
    registry.register(OTHER, "anna")
    registry.register(replace(OTHER, version="3", manifest_digest="0c" * 32), "anna")
    assert registry.show("0a0a")[0].fingerprint == OTHER
    with pytest.raises(AmbiguousModelError):
        registry.stop("other", "anna", Concern.OTHER)
    for nobody in ("no such model", "%", ""):
        with pytest.raises((NotFoundError, AmbiguousModelError)):
            registry.stop(nobody, "anna", Concern.OTHER)


class _Called:
    """The fake model under another name."""

    def __init__(self, world: World, fingerprint: ModelFingerprint) -> None:
        self._models, self._fingerprint = world.models, fingerprint

    def fingerprint(self) -> ModelFingerprint:
        return self._fingerprint

    def answer(self, *question: object) -> object:
        answered = self._models.answer(*question)  # type: ignore[arg-type]
        forecast = answered.forecast
        capsule = replace(forecast.capsule, model=self._fingerprint)
        return replace(answered, forecast=replace(forecast, capsule=capsule))
