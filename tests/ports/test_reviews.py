"""Port Reviews: each version follows the one before it, and the worklist misses and repeats nobody."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.event import listens_for

from clinical.audit.entry import Act
from clinical.errors import NotFoundError
from clinical.prediction.prediction import Prediction
from clinical.prediction.request import PredictionRequest
from clinical.review.decision import Decision
from clinical.review.review import Review, ReviewState, StaleVersionError
from clinical.services.ports import OpenUnitOfWork, UnitOfWork, WorklistQuery
from clinical.services.prediction import PredictionService
from clinical.timeline.patient import PatientRef
from clinical.timeline.timeline import Timeline
from tests.clinical.builders import event
from tests.fakes import NOON, FakeModelServer, SeededIdentities, SettableClock
from tests.ports import strategies
from tests.ports.together import together

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("unaudited")]

OPEN = frozenset({ReviewState.QUEUED, ReviewState.CLAIMED})
ADA = PatientRef("north", "ada")


def _predict(uow: UnitOfWork, number: int, *, is_abstained: bool = False) -> Prediction:
    patient = PatientRef("north", str(number)).patient_id
    request = PredictionRequest(
        prediction_id=UUID(int=1000 + number), patient_id=patient, as_of=NOON, received_by=NOON
    )
    model = FakeModelServer(min_events=9 if is_abstained else 1)
    timeline = Timeline.of(patient, [event(patient_id=patient)])
    prediction = Prediction(
        request=request, forecast=model.forecast(request, timeline), made_at=NOON
    )
    uow.predictions.ensure_model(prediction.forecast.capsule.model, NOON)
    assert uow.predictions.add(prediction)
    return prediction


def _open(
    uow: UnitOfWork, number: int, priority: float = 0.5, *, is_abstained: bool = False
) -> Review:
    prediction = _predict(uow, number, is_abstained=is_abstained)
    review = Review(
        review_id=UUID(int=number),
        prediction_id=prediction.request.prediction_id,
        patient_id=prediction.request.patient_id,
        priority=priority,
        opened_at=NOON,
    )
    uow.reviews.add(review)
    return review


@pytest.fixture
def review(open_unit_of_work: OpenUnitOfWork) -> Review:
    with open_unit_of_work() as uow:
        opened = _open(uow, 7)
        uow.commit()
    return opened


MOVES: dict[str, Callable[[Review], Review]] = {
    "opened": lambda review: review,
    "claimed": lambda review: review.claim("dr-a", NOON),
    "released": lambda review: review.claim("dr-a", NOON).release("dr-a", NOON),
    "signed": lambda review: review.claim("dr-a", NOON).sign("dr-a", NOON),
    "superseded": lambda review: review.supersede(NOON, "prediction é"),
    "withdrawn": lambda review: review.claim("dr-a", NOON).withdraw(NOON, "recall"),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_review_in_any_state_comes_back_as_it_was(
    open_unit_of_work: OpenUnitOfWork, review: Review, move: str
) -> None:
    moved = MOVES[move](review)
    with open_unit_of_work() as uow:
        for version in range(2, moved.version + 1):
            uow.reviews.update(replace(moved, version=version))
        uow.commit()
    with open_unit_of_work() as uow:
        assert uow.reviews.get(review.review_id) == moved


def test_only_the_version_that_follows_is_stored(
    open_unit_of_work: OpenUnitOfWork, review: Review
) -> None:
    claimed = review.claim("dr-a", NOON)
    with open_unit_of_work() as uow:
        for wrong in (replace(claimed, version=1), replace(claimed, version=3)):
            with pytest.raises(StaleVersionError):
                uow.reviews.update(wrong)
        assert uow.reviews.get(review.review_id) == review
        with pytest.raises(NotFoundError):
            uow.reviews.update(replace(claimed, review_id=UUID(int=99)))
        with pytest.raises(NotFoundError):
            uow.reviews.get(UUID(int=99))


def test_of_eight_that_claim_at_once_one_wins(
    open_unit_of_work: OpenUnitOfWork, review: Review
) -> None:
    # All have read the same version before any of them writes.
    def claim_what_was_read(who: str) -> str:
        with open_unit_of_work() as uow:
            uow.reviews.update(review.claim(who, NOON))
            uow.commit()
        return who

    results = together([partial(claim_what_was_read, f"dr-{n}") for n in range(8)])
    winners = [result for result in results if isinstance(result, str)]
    losers = [type(result) for result in results if not isinstance(result, str)]
    assert losers == [StaleVersionError] * 7
    with open_unit_of_work() as uow:
        held = uow.reviews.get(review.review_id)
    assert [held.claimed_by] == winners
    assert held.version == 2


def _pages(uow: UnitOfWork, query: WorklistQuery) -> list[Review]:
    seen: list[Review] = []
    while page := uow.reviews.worklist(query):
        seen += page
        query = replace(query, after=(page[-1].priority, page[-1].review_id))
    return seen


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.9]) | st.floats(0, 1), max_size=12), st.integers(1, 5)
)
def test_the_pages_of_the_worklist_are_the_whole_of_it_in_order(
    open_unit_of_work: OpenUnitOfWork, priorities: list[float], limit: int
) -> None:
    with open_unit_of_work() as uow:
        opened = [_open(uow, n, priority) for n, priority in enumerate(priorities)]
        query = WorklistQuery(states=OPEN, limit=limit)
        assert _pages(uow, query) == sorted(opened, key=lambda r: (-r.priority, r.review_id))
        assert uow.reviews.count(query) == len(opened)


def test_the_everyday_worklist_is_read_from_its_index(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    asked: list[str] = []
    with open_unit_of_work() as uow:
        opened = [_open(uow, n, n / 10) for n in range(3)]
        uow.commit()

    @listens_for(engine, "before_cursor_execute")
    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    with open_unit_of_work() as uow:
        after = (0.15, opened[0].review_id)
        uow.reviews.worklist(WorklistQuery(states=OPEN, after=after))
    [statement] = asked
    with engine.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))
        values = {"priority_1": 0.15, "priority_2": 0.15, "review_id_1": UUID(int=0), "param_1": 9}
        plan = connection.exec_driver_sql(f"EXPLAIN {statement}", values).scalars()
        assert "Index Scan using ix_reviews_open" in "".join(plan)


def test_the_worklist_can_be_narrowed(open_unit_of_work: OpenUnitOfWork) -> None:
    with open_unit_of_work() as uow:
        queued, mine, theirs = (_open(uow, n) for n in range(3))
        silent = _open(uow, 3, is_abstained=True)
        uow.reviews.update(mine := mine.claim("dr-a", NOON))
        uow.reviews.update(theirs := theirs.claim("dr-b", NOON))
        narrowed = {
            WorklistQuery(states=OPEN): [queued, mine, theirs, silent],
            WorklistQuery(states=OPEN, claimed_by="dr-a"): [mine],
            WorklistQuery(states=frozenset({ReviewState.CLAIMED})): [mine, theirs],
            WorklistQuery(states=OPEN, abstained=True): [silent],
            WorklistQuery(states=OPEN, abstained=False): [queued, mine, theirs],
            WorklistQuery(states=frozenset({ReviewState.SIGNED})): [],
            WorklistQuery(states=frozenset()): [],
        }
        for query, expected in narrowed.items():
            assert uow.reviews.worklist(query) == expected
            assert uow.reviews.count(query) == len(expected)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(strategies.decisions)
def test_any_decision_comes_back_as_it_was(
    open_unit_of_work: OpenUnitOfWork, decision: Decision
) -> None:
    with open_unit_of_work() as uow:
        _open(uow, 7)
        assert uow.reviews.decision(decision.review_id) is None
        uow.reviews.add_decision(decision)
        held = uow.reviews.decision(decision.review_id)
    assert held == decision
    assert held is not None
    assert held.digest == decision.digest


def test_the_open_reviews_of_a_patient_are_those_that_may_still_be_decided(
    open_unit_of_work: OpenUnitOfWork, review: Review
) -> None:
    with open_unit_of_work() as uow:
        assert uow.reviews.open_for(review.patient_id) == [review]
        uow.reviews.update(claimed := review.claim("dr-a", NOON))
        assert uow.reviews.open_for(review.patient_id) == [claimed]
        uow.reviews.update(claimed.sign("dr-a", NOON))
        assert uow.reviews.open_for(review.patient_id) == []


def test_predictions_of_a_patient_made_at_once_leave_one_review_open(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    with open_unit_of_work() as uow:
        events = [event(f"o{n}", at=n, patient_id=ADA.patient_id) for n in range(6)]
        uow.timelines.add(events, {ADA.patient_id: ADA})
        uow.commit()

    def predict(number: int) -> UUID:
        service = PredictionService(
            open_unit_of_work=open_unit_of_work,
            clock=SettableClock(NOON + timedelta(days=400)),
            identities=SeededIdentities(number),
            models=FakeModelServer(),
        )
        as_of = event(at=number).available_at
        return service.make(ADA.patient_id, Act(actor="worker", at=NOON), as_of=as_of)

    results = together([partial(predict, number) for number in range(6)])
    assert [type(result) for result in results] == [UUID] * 6
    with engine.connect() as connection:
        states = connection.execute(text("SELECT state FROM reviews")).scalars()
        assert sorted(states) == ["queued"] + ["superseded"] * 5
