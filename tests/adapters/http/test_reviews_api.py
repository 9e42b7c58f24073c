"""The review API: what a clinician sees, and every answer that a move can get."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from clinical.audit.entry import AuditKind
from clinical.review.review import LEASE
from clinical.services.delivery import Delivery, Door, Reading
from clinical.timeline.patient import PatientRef
from tests.adapters.http.conftest import Stage
from tests.adapters.http.stage import MIN_EVENTS
from tests.clinical.services.conftest import ScriptedReader

pytestmark = pytest.mark.integration


@pytest.fixture
def review_id(stage: Stage) -> UUID:
    stage.sign_in()
    return stage.add_patient("p1")


def problem_code(answer: Any) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    assert content["status"] == answer.status_code
    assert content["request_id"] == answer.headers["x-request-id"]
    return str(content["type"]).rpartition(":")[2]


PRIVATE = [
    "/v1/reviews",
    f"/v1/reviews/{uuid4()}",
    f"/v1/reviews/{uuid4()}/timeline",
    f"/v1/reviews/{uuid4()}/history",
    f"/v1/reviews/{uuid4()}/similar",
    "/v1/audit/head",
    f"/v1/audit/entries/{uuid4()}/proof",
    "/v1/models/current",
]


def test_nothing_is_told_to_somebody_who_is_not_signed_in(stage: Stage) -> None:
    for path in PRIVATE:
        answer = stage.get(path)
        assert (answer.status_code, problem_code(answer)) == (401, "http.signed_out"), path


def test_the_worklist_has_the_highest_risk_first_and_pages_without_gap_or_repeat(
    stage: Stage,
) -> None:
    stage.sign_in()
    for i in range(9):
        stage.add_patient(f"p{i}", num_events=MIN_EVENTS + i % 4)
    seen, cursor = [], None
    while True:
        page = stage.get(
            "/v1/reviews", params={"limit": 4, **({"cursor": cursor} if cursor else {})}
        )
        content = page.json()
        assert content["total"] == 9
        seen += content["reviews"]
        cursor = content["next_cursor"]
        if cursor is None:
            break
    priorities = [line["review"]["priority"] for line in seen]
    assert priorities == sorted(priorities, reverse=True)
    assert len({line["review"]["review_id"] for line in seen}) == 9


def test_a_worklist_line_says_who_what_and_how_likely(stage: Stage, review_id: UUID) -> None:
    (line,) = stage.get("/v1/reviews").json()["reviews"]
    assert line["review"]["review_id"] == str(review_id)
    assert line["patient"] == {"sex": "male", "age_years": 78, "age": "78"}
    assert line["headline"] == "Emergency visit"
    assert 0 < line["estimate"] < 1
    assert line["withheld"] is None


def test_the_worklist_filters_by_state_holder_and_abstention(stage: Stage, review_id: UUID) -> None:
    thin = stage.add_patient("thin", num_events=1)
    assert stage.write(f"/v1/reviews/{review_id}:claim", version=1).status_code == 200

    def listed(**params: Any) -> list[str]:
        lines = stage.get("/v1/reviews", params=params).json()["reviews"]
        return [line["review"]["review_id"] for line in lines]

    assert listed(state="claimed") == [str(review_id)]
    assert listed(state="queued") == [str(thin)]
    assert listed(state=["queued", "claimed"]) == [str(review_id), str(thin)]
    assert listed(mine=True) == [str(review_id)]
    assert listed(abstained=True) == [str(thin)]
    assert listed(abstained=False) == [str(review_id)]
    assert listed(state="signed") == []


def test_a_cursor_for_another_filter_is_refused(stage: Stage, review_id: UUID) -> None:
    stage.add_patient("p2")
    cursor = stage.get("/v1/reviews", params={"limit": 1}).json()["next_cursor"]
    for params in ({"cursor": cursor, "state": "signed"}, {"cursor": "AAAA"}):
        answer = stage.get("/v1/reviews", params=params)
        assert (answer.status_code, problem_code(answer)) == (400, "http.bad_cursor")


def test_a_limit_out_of_range_is_refused_without_repeating_it(stage: Stage) -> None:
    stage.sign_in()
    for limit in (0, 101, "many"):
        answer = stage.get("/v1/reviews", params={"limit": limit})
        assert (answer.status_code, problem_code(answer)) == (422, "http.invalid_request")
        assert answer.json()["errors"][0]["place"] == ["query", "limit"]
        assert "many" not in answer.text


def test_an_item_has_everything_that_a_judgement_needs(stage: Stage, review_id: UUID) -> None:
    answer = stage.get(f"/v1/reviews/{review_id}")
    item = answer.json()
    assert answer.headers["etag"] == '"v1"'
    assert item["patient"] == {"sex": "male", "age_years": 78, "age": "78"}
    assert item["num_events"] == 7
    assert [risk["name"] for risk in item["risks"]][-1] == "Death"
    emergency, death = item["risks"][0]["estimates"][0], item["risks"][-1]["estimates"][0]
    assert emergency["intervals"][0]["low"] < emergency["estimate"]
    assert emergency["reliability"]["count"] == 41
    assert (death["estimate"], death["withheld"]["reason"]) == (None, "not_calibrated")
    (glucose,) = item["quantities"]
    assert [measured["value"] for measured in glucose["measured"]] == [90, 91, 92, 93, 94, 95]
    assert [len(estimate["intervals"]) for estimate in glucose["estimates"]] == [2, 2, 2, 2]
    assert item["trajectory"]["steps"][0]["movement"] == 0
    assert item["trajectory"]["steps"][-1]["spread"] == 0.08
    assert item["familiarity"] == {"distance": 0.4, "unseen_code_share": 0.03}
    assert item["capsule"]["model"]["manifest_digest"] == "ab" * 32
    assert (item["capsule"]["grade"], len(item["capsule"]["digest"])) == ("R0", 64)
    assert item["decision"] is None


def test_every_number_names_facts_that_are_on_the_page(stage: Stage, review_id: UUID) -> None:
    item = stage.get(f"/v1/reviews/{review_id}").json()
    shown = {evidence["fact"]["event_id"] for evidence in item["evidence"]}
    said = [
        estimate
        for course in item["risks"] + item["quantities"]
        for estimate in course["estimates"]
        if estimate["estimate"] is not None
    ]
    assert said
    for estimate in said:
        assert estimate["evidence"]
        assert set(estimate["evidence"]) <= shown
    for evidence in item["evidence"]:
        assert evidence["fact"]["source"]["reference"].startswith("Observation/")
        assert len(evidence["fact"]["source"]["digest"]) == 64


def test_an_abstention_is_a_state_with_its_reason_never_a_zero(stage: Stage) -> None:
    stage.sign_in()
    thin = stage.add_patient("thin", num_events=1)
    item = stage.get(f"/v1/reviews/{thin}").json()
    assert item["withheld"]["reason"] == "too_few_events"
    assert (item["risks"], item["quantities"], item["trajectory"]) == ([], [], None)
    (line,) = stage.get("/v1/reviews").json()["reviews"]
    assert (line["estimate"], line["withheld"]["reason"]) == (None, "too_few_events")


def test_values_in_another_unit_are_counted_never_converted(stage: Stage) -> None:
    from dataclasses import replace
    from decimal import Decimal

    from clinical.timeline.quantity import Quantity

    stage.sign_in()
    patient = PatientRef("north", "two-units")
    events = [stage.event_of(patient, f"a{i}", at=24.0 * i, value="90") for i in range(6)]
    events.append(
        replace(
            stage.event_of(patient, "b", at=200.0),
            value=Quantity(Decimal("5.1"), "mmol/L"),
        )
    )
    stage.record(patient, events)
    item = stage.get(f"/v1/reviews/{stage.predict(patient)}").json()
    course = next(c for c in item["quantities"] if c["unit"] == "mg/dL")
    assert (len(course["measured"]), course["num_in_other_units"]) == (6, 1)


def test_the_timeline_is_cut_at_the_question(stage: Stage, review_id: UUID) -> None:
    before = stage.get(f"/v1/reviews/{review_id}/timeline").json()
    patient = PatientRef("north", "p1")
    stage.record(patient, [stage.event_of(patient, "later", at=2000.0, value="300")])
    after = stage.get(f"/v1/reviews/{review_id}/timeline").json()
    assert before == after
    assert before["num_events"] == 7
    assert before["num_static"] == 1
    (lane,) = before["lanes"]
    assert [mark["fact"]["source"]["reference"] for mark in lane["marks"]] == [
        f"Observation/p1-o{i}" for i in range(6)
    ]


def test_the_timeline_leaves_out_what_had_come_and_was_not_understood_yet(stage: Stage) -> None:
    """A delivery that waited gave the prediction nothing: its reader must not think that it did."""
    stage.sign_in()
    patient = PatientRef("north", "p9")
    stage.record(patient, [stage.event_of(patient, "read", at=24.0)])
    reader = ScriptedReader(Reading())
    intake = replace(stage.deps.intake, readers={Door.FHIR: reader})
    waiting = Delivery(
        delivery_id=uuid4(),
        site="north",
        door=Door.FHIR,
        sender_id="waited",
        body=b"{}",
        content_type="application/fhir+json",
        received_at=stage.clock.now(),
    )
    intake.receive(waiting, stage.act("site:north"))
    review_id = stage.predict(patient)
    late = stage.event_of(patient, "waited", at=12.0)
    reader.reading.events = [
        replace(late, source=replace(late.source, delivery_id=waiting.delivery_id))
    ]
    intake.record(waiting.delivery_id, stage.act("worker"), predict=False)
    assert stage.get(f"/v1/reviews/{review_id}/timeline").json()["num_events"] == 1


def test_neither_name_nor_id_of_the_patient_is_in_a_worklist(stage: Stage, review_id: UUID) -> None:
    text = stage.get("/v1/reviews").text
    assert str(PatientRef("north", "p1").patient_id) not in text
    assert '"p1"' not in text


def test_reading_an_item_or_its_timeline_is_audited(stage: Stage, review_id: UUID) -> None:
    stage.get(f"/v1/reviews/{review_id}")
    stage.get(f"/v1/reviews/{review_id}/timeline")
    entries = stage.get(f"/v1/reviews/{review_id}/history").json()["entries"]
    read = [entry for entry in entries if entry["kind"] == AuditKind.REVIEW_READ]
    assert [entry["actor"] for entry in read] == ["anna", "anna"]
    assert {entry["kind"] for entry in entries} == {
        AuditKind.PREDICTION_STORED,
        AuditKind.REVIEW_OPENED,
        AuditKind.REVIEW_READ,
    }
    assert all(entry["request_id"] for entry in read)


def test_an_unknown_review_is_not_found(stage: Stage) -> None:
    stage.sign_in()
    for rest in ("", "/timeline", "/history"):
        answer = stage.get(f"/v1/reviews/{uuid4()}{rest}")
        assert (answer.status_code, problem_code(answer)) == (404, "clinical.not_found"), rest


MOVES: dict[str, Any] = {"claim": None, "release": None, "sign": {"verdict": "agree"}}


def test_a_move_needs_the_version_that_was_read(stage: Stage, review_id: UUID) -> None:
    for verb, body in MOVES.items():
        path = f"/v1/reviews/{review_id}:{verb}"
        missing = stage.write(path, body=body)
        assert (missing.status_code, problem_code(missing)) == (428, "http.precondition_required")
        stale = stage.write(path, version=7, body=body)
        assert (stale.status_code, problem_code(stale)) == (412, "review.stale_version")
        for tag in ("*", "v1", 'W/"v1"', '"1"', '"v1", "v2"'):
            odd = stage.write(path, body=body, **{"If-Match": tag})
            assert (odd.status_code, problem_code(odd)) == (412, "review.stale_version"), tag
    assert stage.review(review_id).version == 1


def test_a_move_needs_the_header_that_other_origins_cannot_send(
    stage: Stage, review_id: UUID
) -> None:
    for verb, body in MOVES.items():
        path = f"/v1/reviews/{review_id}:{verb}"
        answer = stage.client.post(path, json=body, headers={"If-Match": '"v1"'})
        assert (answer.status_code, problem_code(answer)) == (403, "http.missing_request_header")
    assert stage.review(review_id).version == 1


def test_a_claim_holds_for_the_lease_and_can_be_extended(stage: Stage, review_id: UUID) -> None:
    first = stage.write(f"/v1/reviews/{review_id}:claim", version=1)
    assert (first.status_code, first.headers["etag"]) == (200, '"v2"')
    assert (first.json()["held_by"], first.json()["is_mine"]) == ("anna", True)
    stage.clock.advance(timedelta(minutes=10))
    again = stage.write(f"/v1/reviews/{review_id}:claim", version=2)
    held_until = stage.review(review_id).claimed_until
    assert again.status_code == 200
    assert held_until == stage.clock.now() + LEASE


def test_what_another_holds_is_refused_with_who_and_until_when(
    stage: Stage, review_id: UUID
) -> None:
    stage.write(f"/v1/reviews/{review_id}:claim", version=1)
    stage.sign_in("ben")
    answer = stage.write(f"/v1/reviews/{review_id}:claim", version=2)
    assert (answer.status_code, problem_code(answer)) == (409, "review.held_by_another")
    assert answer.json()["held_by"] == "anna"
    until = stage.review(review_id).claimed_until
    assert until is not None
    assert answer.json()["held_until"] == until.isoformat()
    for verb, body in (("release", None), ("sign", {"verdict": "agree"})):
        other = stage.write(f"/v1/reviews/{review_id}:{verb}", version=2, body=body)
        assert (other.status_code, problem_code(other)) == (409, "review.not_holder")


def test_after_the_lease_ran_out_another_may_claim_and_the_first_may_not_sign(
    stage: Stage, review_id: UUID
) -> None:
    stage.write(f"/v1/reviews/{review_id}:claim", version=1)
    stage.clock.advance(LEASE + timedelta(seconds=1))
    late = stage.write(f"/v1/reviews/{review_id}:sign", version=2, body={"verdict": "agree"})
    assert (late.status_code, problem_code(late)) == (409, "review.not_holder")
    stage.sign_in("ben")
    assert stage.write(f"/v1/reviews/{review_id}:claim", version=2).json()["held_by"] == "ben"


def test_a_released_review_is_queued_again(stage: Stage, review_id: UUID) -> None:
    stage.write(f"/v1/reviews/{review_id}:claim", version=1)
    answer = stage.write(f"/v1/reviews/{review_id}:release", version=2)
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert answer.json()["held_by"] is None


def test_a_signed_review_is_closed_with_its_decision(stage: Stage, review_id: UUID) -> None:
    stage.write(f"/v1/reviews/{review_id}:claim", version=1)
    answer = stage.write(
        f"/v1/reviews/{review_id}:sign",
        version=2,
        body={"verdict": "disagree", "reasons": ["data_wrong", "data_wrong"], "note": "see <b>"},
    )
    assert (answer.status_code, answer.headers["etag"]) == (200, '"v3"')
    item = stage.get(f"/v1/reviews/{review_id}").json()
    assert item["review"]["state"] == "signed"
    assert item["decision"] == answer.json()
    assert (item["decision"]["verdict"], item["decision"]["reasons"]) == (
        "disagree",
        ["data_wrong"],
    )
    assert item["decision"]["note"] == "see <b>"
    assert item["decision"]["prediction_digest"] == item["capsule"]["output_digest"]
    for verb, body in (("claim", None), ("release", None), ("sign", {"verdict": "agree"})):
        closed = stage.write(f"/v1/reviews/{review_id}:{verb}", version=3, body=body)
        assert (closed.status_code, problem_code(closed)) == (409, "review.closed")


MALFORMED: list[dict[str, Any]] = [
    {},
    {"verdict": "canary-verdict"},
    {"verdict": "agree", "canary-field": 1},
    {"verdict": "agree", "note": "canary" * 1000},
    {"verdict": "agree", "reasons": ["canary-reason"]},
    {"verdict": "agree", "decided_by": "canary"},
]


def test_a_malformed_decision_is_refused_without_an_echo(stage: Stage, review_id: UUID) -> None:
    stage.write(f"/v1/reviews/{review_id}:claim", version=1)
    for body in MALFORMED:
        answer = stage.write(f"/v1/reviews/{review_id}:sign", version=2, body=body)
        assert (answer.status_code, problem_code(answer)) == (422, "http.invalid_request"), body
        assert "canary" not in answer.text
    assert stage.review(review_id).version == 2


def test_a_newer_prediction_supersedes_the_open_review(stage: Stage, review_id: UUID) -> None:
    patient = PatientRef("north", "p1")
    stage.record(patient, [stage.event_of(patient, "news", at=300.0, value="120")])
    newer = stage.predict(patient)
    old = stage.get(f"/v1/reviews/{review_id}").json()["review"]
    assert (newer != review_id, old["state"]) == (True, "superseded")
    answer = stage.write(f"/v1/reviews/{review_id}:claim", version=old["version"])
    assert problem_code(answer) == "review.closed"


def test_of_many_claims_at_once_one_wins(stage: Stage, review_id: UUID) -> None:
    """Sixteen clinicians claim the same review in the same moment, over one real database."""
    from concurrent.futures import ThreadPoolExecutor

    from adapters.http.sessions import COOKIE, REQUEST_HEADER, token_for
    from tests.adapters.http.conftest import Person

    tokens = [
        token_for(Person(f"c{i}", f"C {i}"), stage.clock.now(), stage.deps) for i in range(16)
    ]
    stage.client.cookies.clear()

    def claim(token: str) -> int:
        headers = {"If-Match": '"v1"', REQUEST_HEADER: "test", "Cookie": f"{COOKIE}={token}"}
        return stage.client.post(f"/v1/reviews/{review_id}:claim", headers=headers).status_code

    with ThreadPoolExecutor(16) as pool:
        answers = sorted(pool.map(claim, tokens))
    assert answers[0] == 200
    assert set(answers[1:]) <= {409, 412}
    assert stage.review(review_id).version == 2


def test_of_many_signatures_at_once_one_is_kept(stage: Stage, review_id: UUID) -> None:
    """One clinician signs from eight windows in the same moment: one decision, seven refusals."""
    from concurrent.futures import ThreadPoolExecutor

    stage.write(f"/v1/reviews/{review_id}:claim", version=1)

    def sign(verdict: str) -> int:
        path = f"/v1/reviews/{review_id}:sign"
        return stage.write(path, version=2, body={"verdict": verdict}).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(sign, ["agree", "disagree"] * 4))
    assert answers[0] == 200
    assert set(answers[1:]) <= {409, 412}
    assert stage.review(review_id).version == 3
