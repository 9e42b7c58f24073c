"""Similar patients over HTTP: numbers about many, nothing about anybody."""

from datetime import timedelta
from uuid import UUID

import pytest

from clinical.audit.entry import AuditKind
from clinical.prediction.request import Purpose
from clinical.services.prediction import PredictionService
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind, Standing
from clinical.timeline.patient import PatientRef
from clinical.timeline.time import ClinicalTime
from tests.adapters.http.conftest import Stage
from tests.clinical.builders import hours

pytestmark = pytest.mark.integration
EMERGENCY = Code(CodeSystem.ACT, "EMER", "emergency")


def add_neighbour(stage: Stage, number: int, *, site: str = "north", has_it: bool = False) -> UUID:
    """Seen for six days and asked about then; a year on record, with an emergency on day 8 or not."""
    ref = PatientRef(site, f"n{number}")
    birth = {"kind": EventKind.PATIENT, "occurred_at": ClinicalTime.day(1950, 1, 1)}
    days = (*range(6), 400)
    events = [
        stage.event_of(ref, f"{site}{number}-birth", at=0, **birth),
        *(stage.event_of(ref, f"{site}{number}-{day}", at=24.0 * day) for day in days),
    ]
    if has_it:
        visit = {"kind": EventKind.ENCOUNTER, "code": EMERGENCY}
        events.append(stage.event_of(ref, f"{site}{number}-visit", at=24.0 * 8, **visit))
    stage.record(ref, events)
    PredictionService(
        open_unit_of_work=stage.deps.open_unit_of_work,
        clock=stage.clock,
        identities=stage.deps.identities,
        models=stage.model,
    ).make(ref.patient_id, stage.act("worker"), purpose=Purpose.RETROSPECTIVE, as_of=hours(24 * 5))
    return ref.patient_id


@pytest.fixture
def review_id(stage: Stage) -> UUID:
    stage.clock.advance(timedelta(days=500))
    stage.sign_in()
    return stage.add_patient("p1", num_events=9)


def test_what_happened_among_similar_patients_is_told_as_shares(
    stage: Stage, review_id: UUID
) -> None:
    ids = [add_neighbour(stage, number, has_it=number % 2 == 0) for number in range(30)]
    answer = stage.get(f"/v1/reviews/{review_id}/similar")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["untold"], told["num_patients"]) == (None, 30)
    assert told["ages"] == [{"label": "60-79", "count": 30}]
    assert "not a forecast" in told["wording"]
    assert told["median_distance"] == pytest.approx(0.03)
    first = next(o for o in told["outcomes"] if o["name"] == "Emergency visit")
    assert (first["num_followed"], first["share"]) == (30, 0.5)
    assert first["low"] < 0.5 < first["high"]
    deaths = [o for o in told["outcomes"] if o["name"] == "Death"]
    assert {o["untold"] for o in deaths} == {"few_had_it"}
    assert all(str(patient_id) not in answer.text for patient_id in ids)
    assert "north" not in answer.text


def test_too_few_are_refused_by_name(stage: Stage, review_id: UUID) -> None:
    for number in range(19):
        add_neighbour(stage, number)
    told = stage.get(f"/v1/reviews/{review_id}/similar").json()
    assert told["untold"] == "not_enough_similar_patients"
    assert (told["num_patients"], told["ages"], told["outcomes"]) == (0, [], [])
    assert told["median_distance"] is told["typical_distance"] is None
    # Patients of another site do not fill the group.
    for number in range(100, 105):
        add_neighbour(stage, number, site="south")
    told = stage.get(f"/v1/reviews/{review_id}/similar").json()
    assert told["untold"] == "not_enough_similar_patients"


def test_a_patient_whose_record_was_withdrawn_does_not_count(stage: Stage, review_id: UUID) -> None:
    for number in range(20):
        add_neighbour(stage, number)
    assert stage.get(f"/v1/reviews/{review_id}/similar").json()["num_patients"] == 20
    ref = PatientRef("north", "n7")
    with stage.deps.open_unit_of_work() as uow:
        held = uow.timelines.of(ref.patient_id)
    withdrawn = [
        stage.event_of(
            ref,
            event.source.record_id,
            content="withdrawn",
            standing=Standing.RETRACTED,
            updated=9000,
        )
        for event in held
    ]
    stage.record(ref, withdrawn)
    told = stage.get(f"/v1/reviews/{review_id}/similar").json()
    assert told["untold"] == "not_enough_similar_patients"


def test_of_a_patient_of_whom_nothing_was_said_nothing_can_be_compared(stage: Stage) -> None:
    stage.sign_in()
    review_id = stage.add_patient("thin", num_events=1)
    assert stage.get(f"/v1/reviews/{review_id}/similar").json()["untold"] == "no_state"


def test_reading_it_is_audited(stage: Stage, review_id: UUID) -> None:
    stage.get(f"/v1/reviews/{review_id}/similar")
    with stage.deps.open_unit_of_work() as uow:
        last = uow.audit_log.history(review=str(review_id))[-1]
    assert (last.kind, last.actor) == (AuditKind.REVIEW_READ, "anna")


def test_a_review_that_does_not_exist_is_not_found(stage: Stage) -> None:
    stage.sign_in()
    assert stage.get(f"/v1/reviews/{UUID(int=4)}/similar").status_code == 404
