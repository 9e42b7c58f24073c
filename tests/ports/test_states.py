"""Port LatentStates: whose states are nearest, of those that may be compared at all."""

import struct
from dataclasses import replace
from math import dist
from statistics import median
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from clinical.prediction.prediction import Prediction
from clinical.prediction.request import PredictionRequest
from clinical.prediction.similar import Neighbour
from clinical.services.ports import OpenUnitOfWork
from clinical.timeline.merge import MergeStatement, Says
from clinical.timeline.patient import PatientRef
from clinical.timeline.timeline import Timeline
from tests.clinical.builders import event, hours
from tests.fakes import MODEL, NOON, FakeModelServer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("unaudited")]
State = tuple[float, ...]
ORIGIN: State = (0.0, 0.0, 0.0, 0.0)
ASKED = PatientRef("north", "asked")


def _patient(
    open_unit_of_work: OpenUnitOfWork, ref: PatientRef, *states: State, followed: bool = True
) -> UUID:
    """A patient seen every ten hours, with a state after each, and once more if `followed`."""
    patient_id = ref.patient_id
    times = range(len(states) + followed)
    events = [event(f"{ref.record_id}-{n}", at=10 * n, patient_id=patient_id) for n in times]
    with open_unit_of_work() as uow:
        uow.timelines.add(events, {patient_id: ref})
        uow.predictions.ensure_model(MODEL, NOON)
        for place, state in enumerate(states):
            timeline = Timeline.of(patient_id, events[: place + 1])
            uow.predictions.add(_prediction(timeline, 10 * place, state))
        uow.commit()
    return patient_id


def _prediction(timeline: Timeline, at: float, state: State) -> Prediction:
    request = PredictionRequest(
        prediction_id=uuid4(), patient_id=timeline.patient_id, as_of=hours(at), received_by=NOON
    )
    forecast = FakeModelServer().forecast(request, timeline)
    assert forecast.trajectory is not None
    trajectory = replace(forecast.trajectory, state=struct.pack(f"<{len(state)}f", *state))
    return Prediction(
        request=request, forecast=replace(forecast, trajectory=trajectory), made_at=NOON
    )


def _nearest(
    open_unit_of_work: OpenUnitOfWork, limit: int = 100, model: str = MODEL.manifest_digest
) -> list[Neighbour]:
    with open_unit_of_work() as uow:
        return uow.states.nearest(ASKED.patient_id, model, ORIGIN, limit)


def _ref(number: int, site: str = "north") -> PatientRef:
    return PatientRef(site, f"p{number}")


def test_a_record_that_was_merged_into_another_is_nobody_of_its_own(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _patient(open_unit_of_work, ASKED, ORIGIN)
    gone, kept = (_patient(open_unit_of_work, _ref(n), ORIGIN) for n in (1, 2))
    statement = MergeStatement(
        gone_id=gone,
        kept_id=kept,
        says=Says.MERGED,
        said_by="ADT/1",
        digest="",
        updated_at=None,
        received_at=hours(1),
        delivery_id=uuid4(),
    )
    assert len(_nearest(open_unit_of_work)) == 2
    with open_unit_of_work() as uow:
        uow.retractions.add_statements([statement])
        uow.commit()
    assert [each.patient_id for each in _nearest(open_unit_of_work)] == [kept]


def test_the_nearest_come_first_at_their_true_distance(open_unit_of_work: OpenUnitOfWork) -> None:
    _patient(open_unit_of_work, ASKED, ORIGIN)
    places = {n: (float(n * 7 % 12), 0.25, 0.5, -1.0) for n in range(12)}
    ids = {n: _patient(open_unit_of_work, _ref(n), state) for n, state in places.items()}
    found = _nearest(open_unit_of_work, limit=5)
    expected = sorted(places, key=lambda n: dist(places[n], ORIGIN))[:5]
    assert [each.patient_id for each in found] == [ids[n] for n in expected]
    for each, n in zip(found, expected, strict=True):
        assert each.distance == pytest.approx(dist(places[n], ORIGIN), rel=1e-6)
        assert each.as_of == hours(0)
    with open_unit_of_work() as uow:
        usual = uow.states.typical_distance(ASKED.patient_id, MODEL.manifest_digest, ORIGIN)
    assert usual == pytest.approx(median(dist(p, ORIGIN) for p in places.values()), rel=1e-6)


def test_a_patient_counts_once_at_the_nearest_moment_and_never_the_one_asked_about(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _patient(open_unit_of_work, ASKED, ORIGIN, ORIGIN)
    other = _patient(open_unit_of_work, _ref(1), (9.0, 0, 0, 0), (1.0, 0, 0, 0), (5.0, 0, 0, 0))
    assert _nearest(open_unit_of_work) == [Neighbour(other, hours(10), 1.0)]


def test_a_state_after_which_nothing_became_known_tells_nothing(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _patient(open_unit_of_work, ASKED, ORIGIN)
    _patient(open_unit_of_work, _ref(1), (1.0, 0, 0, 0), followed=False)
    early = _patient(open_unit_of_work, _ref(2), (3.0, 0, 0, 0), (1.0, 0, 0, 0), followed=False)
    assert _nearest(open_unit_of_work) == [Neighbour(early, hours(0), 3.0)]


def test_another_site_model_or_width_is_not_compared(open_unit_of_work: OpenUnitOfWork) -> None:
    _patient(open_unit_of_work, ASKED, ORIGIN)
    _patient(open_unit_of_work, _ref(1, "south"), (1.0, 0, 0, 0))
    _patient(open_unit_of_work, _ref(2), (1.0, 0.0))
    assert _nearest(open_unit_of_work) == []
    theirs = _patient(open_unit_of_work, _ref(3), (1.0, 0, 0, 0))
    assert [each.patient_id for each in _nearest(open_unit_of_work)] == [theirs]
    assert _nearest(open_unit_of_work, model="9" * 64) == []
    with open_unit_of_work() as uow:
        assert uow.states.typical_distance(ASKED.patient_id, "9" * 64, ORIGIN) is None


def test_a_patient_who_was_erased_does_not_show(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    _patient(open_unit_of_work, ASKED, ORIGIN)
    erased = _patient(open_unit_of_work, _ref(1), (1.0, 0, 0, 0))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM patients WHERE patient_id = :id"), {"id": erased})
    assert _nearest(open_unit_of_work) == []
