"""The planning API: what can be compared, comparing it, reading it back, and every refusal."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from clinical.audit.entry import AuditKind
from clinical.prediction.plan import COURSE_UNDER_PLAN
from clinical.timeline.patient import PatientRef
from tests.adapters.http.conftest import Stage
from tests.adapters.http.test_reviews_api import problem_code
from tests.planning import shipped_patient

pytestmark = pytest.mark.integration
WISHES: dict[str, Any] = {
    "decisions": [{"name": "influenza-vaccine"}, {"name": "statin", "choices": ["simvastatin-10"]}],
    "goals": ["systolic-below-130"],
}


@pytest.fixture
def review_id(stage: Stage) -> UUID:
    """A review of a shipped patient."""
    stage.sign_in()
    return add_shipped_patient(stage)


def add_shipped_patient(stage: Stage) -> UUID:
    patient = PatientRef("sample", "shipped")
    received = stage.clock.now()
    events = [
        replace(event, patient_id=patient.patient_id, received_at=received)
        for event in shipped_patient()
    ]
    stage.record(patient, events)
    return stage.predict(patient)


def compare(stage: Stage, review_id: UUID, body: Any = None) -> Any:
    return stage.write(f"/v1/reviews/{review_id}/plan-comparisons", body=body or WISHES)


def test_the_library_says_what_can_be_planned_and_in_which_words_it_is_told(stage: Stage) -> None:
    stage.sign_in()
    library = stage.get("/v1/plan-library").json()
    assert library["wording"] == COURSE_UNDER_PLAN
    assert "no guideline" in library["source"]
    found = {d["name"]: d for d in library["decisions"]}
    assert [c["is_plannable"] for c in found["statin"]["choices"]] == [True, False]
    assert found["influenza-vaccine"]["after_days"] == [0, 30, 60]


def test_a_comparison_is_ranked_told_in_parts_and_read_back(stage: Stage, review_id: UUID) -> None:
    answer = compare(stage, review_id)
    assert answer.status_code == 201
    told = answer.json()
    assert told["withheld"] is None
    energies = [option["energy"] for option in told["options"]]
    assert energies == sorted(energies)
    assert any(not option["taken"] for option in told["options"])
    for option in told["options"]:
        assert sum(p["amount"] for p in option["parts"]) == pytest.approx(
            option["energy"], abs=1e-5
        )
        assert 0 < option["support"] < 1
        [course] = option["courses"]
        assert course["unit"] == "mm[Hg]"
    assert told["wording"] == COURSE_UNDER_PLAN
    assert told["asked_by"] == "anna"
    back = stage.get(f"/v1/reviews/{review_id}/plan-comparisons").json()
    assert back == {"comparisons": [told]}


def test_comparing_and_reading_back_are_in_the_audit_log(stage: Stage, review_id: UUID) -> None:
    told = compare(stage, review_id).json()
    stage.get(f"/v1/reviews/{review_id}/plan-comparisons")
    with stage.deps.open_unit_of_work() as uow:
        entries = uow.audit_log.history(review=str(review_id))
    kinds = [entry.kind for entry in entries]
    assert kinds[-2:] == [AuditKind.PLANS_COMPARED, AuditKind.REVIEW_READ]
    entry = entries[-2]
    assert entry.actor == "anna"
    assert entry.request_id
    assert entry.refs["comparison"] == told["comparison_id"]
    assert set(entry.sealed_refs) == {"input", "output", "capsule"}


def test_a_model_that_cannot_say_what_is_usual_withholds_the_ranking(
    stage: Stage, review_id: UUID
) -> None:
    stage.model.log_odds = None
    told = compare(stage, review_id).json()
    assert told["options"] == []
    assert told["withheld"]["reason"] == "support_unknown"
    assert {e["constraint"] for e in told["excluded"]} == {"support_unknown"}
    library = stage.get("/v1/plan-library").json()
    assert not any(c["is_plannable"] for d in library["decisions"] for c in d["choices"])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"goals": ["nonsense"]}, "plan.not_in_library"),
        ({"decisions": [{"name": "nonsense"}]}, "plan.not_in_library"),
        ({"goals": []}, "plan.malformed_question"),
        ({"decisions": [{"name": "statin"}]}, "plan.unknown_action"),
        ({"decisions": []}, "http.invalid_request"),
        ({"risks": ["Bad luck"]}, "http.invalid_request"),
        ({"patient_id": str(uuid4())}, "http.invalid_request"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(
    stage: Stage, review_id: UUID, change: dict[str, Any], code: str
) -> None:
    answer = compare(stage, review_id, WISHES | change)
    assert (answer.status_code, problem_code(answer)) == (422, code)
    assert stage.get(f"/v1/reviews/{review_id}/plan-comparisons").json() == {"comparisons": []}


def test_the_refusal_names_what_the_model_never_learned(stage: Stage, review_id: UUID) -> None:
    answer = compare(stage, review_id, WISHES | {"decisions": [{"name": "statin"}]})
    assert "Prescribe simvastatin 20 mg" in answer.json()["detail"]


def test_nobody_compares_unasked(stage: Stage) -> None:
    """Signed out, from another page, of a review that is not there, of a model that is away."""
    path = f"/v1/reviews/{uuid4()}/plan-comparisons"
    for answer in (
        stage.get("/v1/plan-library"),
        stage.get(path),
        stage.write(path, body=WISHES),
    ):
        assert (answer.status_code, problem_code(answer)) == (401, "http.signed_out")
    stage.sign_in()
    answer = stage.client.post(path, json=WISHES)
    assert (answer.status_code, problem_code(answer)) == (403, "http.missing_request_header")
    for answer in (stage.get(path), stage.write(path, body=WISHES)):
        assert (answer.status_code, problem_code(answer)) == (404, "clinical.not_found")
    stage.model.is_away = True
    answer = stage.get("/v1/plan-library")
    assert (answer.status_code, problem_code(answer)) == (503, "model.unavailable")
