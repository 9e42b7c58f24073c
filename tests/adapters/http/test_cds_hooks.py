"""CDS Hooks over HTTP: what is listed, shown, refused, brought along, and told back."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from adapters.http.app import create_app
from adapters.http.cds_schemas import Discovery
from clinical.audit.entry import AuditEntry, AuditKind
from clinical.prediction.prediction import Forecast, ModelFingerprint
from clinical.prediction.registry import Concern
from clinical.prediction.replay import Replay
from clinical.prediction.request import PredictionRequest
from clinical.services.erasure import ErasureService
from clinical.services.ports import ModelBusyError
from clinical.services.registry import RegistryService
from clinical.services.replay import ReplayService
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.patient import PatientRef
from clinical.timeline.time import ClinicalTime
from clinical.timeline.timeline import Timeline
from tests.adapters.http.cds_stage import (
    FHIR,
    ISSUER,
    PUBLIC,
    EhrClient,
    cds_site,
    drafted,
    order,
    patient_resource,
    with_cds,
)
from tests.adapters.http.conftest import NOW, Stage, StageClock, dependencies, served
from tests.adapters.http.stage import StagedModel
from tests.planning import local_model, shipped_patient

pytestmark = pytest.mark.integration
HOOKS = ("patient-view", "encounter-start", "encounter-discharge", "order-select", "order-sign")


@pytest.fixture
def stage(engine: Engine) -> Iterator[Stage]:
    yield from _staged(engine)


def _staged(engine: Engine, **changes: Any) -> Iterator[Stage]:
    clock, model = StageClock(), changes.pop("model", None) or StagedModel()
    deps = dependencies(engine, clock, model)
    about = changes.pop("site", {})
    sites = {"north": cds_site(engine, clock, **about)}
    deps = replace(deps, cds=with_cds(deps, sites, **changes))
    app = create_app(deps)
    with served(app) as client:
        yield Stage(engine=engine, deps=deps, clock=clock, model=model, app=app, client=client)


@pytest.fixture
def ehr(stage: Stage) -> EhrClient:
    return EhrClient(stage.client, stage.clock)


@pytest.fixture
def review_id(stage: Stage) -> UUID:
    """Of a patient who is known as p1, whose newest data are recent."""
    stage.clock.moment = NOW
    return stage.add_patient("p1")


def entries_of(stage: Stage, kind: AuditKind) -> list[AuditEntry]:
    stage.sequence_audit()
    with stage.deps.open_unit_of_work() as uow:
        found = [entry for _, entry, _ in uow.audit_log.sequenced()]
    return [entry for entry in found if entry.kind is kind]


def code_of(answer: Any) -> str:
    return str(answer.json()["type"].rsplit(":", 1)[-1])


def test_discovery_lists_each_service_for_every_hook_that_it_answers(ehr: EhrClient) -> None:
    answer = ehr.discover()
    assert answer.status_code == 200
    listed = Discovery.model_validate(answer.json()).services
    assert sorted(service.hook for service in listed) == sorted(HOOKS)
    assert {service.id for service in listed} == {"forecast", "forecast-with-orders"}
    assert all(
        service.prefetch == {"patient": "Patient/{{context.patientId}}"} for service in listed
    )


@pytest.mark.parametrize("hook", ["patient-view", "encounter-start", "encounter-discharge"])
def test_a_card_tells_horizon_cut_off_age_model_and_calibration(
    stage: Stage, ehr: EhrClient, review_id: UUID, hook: str
) -> None:
    stage.clock.advance(timedelta(hours=5))
    card = ehr.card(hook, "p1")
    with stage.deps.open_unit_of_work() as uow:
        prediction = uow.predictions.get(uow.reviews.get(review_id).prediction_id)
    assert len(card["summary"]) < 140
    assert card["indicator"] == "info"
    detail = card["detail"]
    assert "For review by a clinician" in detail
    assert f"Data cut-off: {prediction.request.as_of:%Y-%m-%d %H:%M} UTC" in detail
    assert "Forecast made: 2024-06-15 12:00 UTC (5 h ago)" in detail
    assert "Horizon: up to 365 days after the data cut-off" in detail
    assert "Model: staged 1.0 (`abababababab`)" in detail
    assert "Calibration: `staged`" in detail
    assert "| Emergency visit |" in detail
    assert "Not said, by number of windows: Death (4)" in detail
    assert card["links"] == [
        {
            "label": "Open the review",
            "url": f"{PUBLIC}/#review={review_id}",
            "type": "absolute",
        }
    ]
    assert {reason["code"] for reason in card["overrideReasons"]} >= {"already_treated", "other"}
    assert "suggestions" not in card
    assert "selectionBehavior" not in card


def test_a_card_comes_from_storage_while_the_model_is_away(
    stage: Stage, ehr: EhrClient, review_id: UUID
) -> None:
    stage.model.is_away = True
    assert ehr.card("patient-view", "p1")["uuid"]


def test_a_patient_is_known_by_id_and_by_reference(ehr: EhrClient, review_id: UUID) -> None:
    one, other = ehr.card("patient-view", "p1"), ehr.card("patient-view", "Patient/p1")
    assert one == other


def test_a_card_keeps_its_identity_over_calls_and_has_another_for_another_hook(
    ehr: EhrClient, review_id: UUID
) -> None:
    one, again = (ehr.card("patient-view", "p1")["uuid"] for _ in range(2))
    assert one == again
    assert ehr.card("encounter-start", "p1")["uuid"] != one


def test_windows_that_are_over_are_not_shown(stage: Stage, ehr: EhrClient, review_id: UUID) -> None:
    with stage.deps.open_unit_of_work() as uow:
        as_of = uow.predictions.get(uow.reviews.get(review_id).prediction_id).request.as_of
    stage.clock.moment = as_of + timedelta(days=8)
    detail = ehr.card("patient-view", "p1")["detail"]
    assert "| 0-7 d |" not in detail
    assert "| 7-30 d |" in detail


def test_a_forecast_that_is_over_is_not_shown_and_another_is_owed(
    stage: Stage, ehr: EhrClient, review_id: UUID
) -> None:
    stage.clock.moment = NOW + timedelta(days=4000)
    card = ehr.card("patient-view", "p1")
    assert "speaks of a time that is over" in card["summary"]
    assert "uuid" not in card
    assert _num_owed(stage) == 1


def test_an_abstention_is_shown_with_its_reason(stage: Stage, ehr: EhrClient) -> None:
    stage.add_patient("thin", num_events=1)
    card = ehr.card("patient-view", "thin")
    assert card["summary"].startswith("No forecast: fewer than 5 events")
    assert "(`too_few_events`)" in card["detail"]
    assert card["uuid"]


def test_where_no_forecast_was_made_yet_one_is_owed_once_and_the_card_says_so(
    stage: Stage, ehr: EhrClient
) -> None:
    _introduce(stage, "new")
    for _ in range(3):
        card = ehr.card("patient-view", "new")
    assert card["summary"].startswith("No forecast yet")
    assert "neither a risk nor its absence" in card["detail"]
    assert _num_owed(stage) == 1


def test_a_forecast_of_a_stopped_model_is_not_shown(
    stage: Stage, ehr: EhrClient, review_id: UUID
) -> None:
    registry = RegistryService(
        open_unit_of_work=stage.deps.open_unit_of_work,
        clock=stage.clock,
        identities=stage.deps.identities,
    )
    registry.stop("staged", "anna", Concern.SAFETY)
    card = ehr.card("patient-view", "p1")
    assert "not in use" in card["summary"]
    assert "%" not in card["detail"]


def test_a_recalled_forecast_is_not_shown(stage: Stage, ehr: EhrClient, review_id: UUID) -> None:
    recalls = stage.deps.recalls
    recalls.recall(recalls.of_model("staged"), "anna", Concern.DATA)
    card = ehr.card("patient-view", "p1")
    assert "withdrawn" in card["summary"]


def test_a_site_may_want_nothing_where_there_is_no_forecast(engine: Engine) -> None:
    for stage in _staged(engine, site={"shows_silence": False}):
        _introduce(stage, "new")
        answer = EhrClient(stage.client, stage.clock).call("patient-view", "new")
        assert answer.json() == {"cards": []}


def test_a_site_may_want_warnings_from_some_risk_on(engine: Engine) -> None:
    for stage in _staged(engine, site={"warning_from": 0.01, "critical_from": 0.99}):
        stage.add_patient("p1")
        assert (
            EhrClient(stage.client, stage.clock).card("patient-view", "p1")["indicator"]
            == "warning"
        )


class EvilModel(StagedModel):
    """Has a name that is Markdown and HTML."""

    def fingerprint(self) -> ModelFingerprint:
        name = "evil|<b>*x*</b>\n[l](http://x)"
        return ModelFingerprint(
            name=name, version="1", manifest_digest="ef" * 32, vocabulary_digest="cd" * 32
        )


def test_words_of_a_model_cannot_become_markup(engine: Engine) -> None:
    for stage in _staged(engine, model=EvilModel()):
        stage.add_patient("p1")
        detail = EhrClient(stage.client, stage.clock).card("patient-view", "p1")["detail"]
        assert r"evil\|\<b\>\*x\*\</b\> \[l\]\(http://x\)" in detail


# What comes along.


def test_without_the_patient_and_without_anything_held_the_answer_is_412(ehr: EhrClient) -> None:
    for prefetch in (
        {},
        {"patient": {"resourceType": "OperationOutcome", "issue": []}},
        {"patient": patient_resource("somebody-else")},
        {"patient": {"resourceType": "Bundle", "type": "searchset", "total": 1, "entry": [{}]}},
    ):
        answer = ehr.call("patient-view", "nobody", prefetch=prefetch)
        assert answer.status_code == 412, prefetch
        assert code_of(answer) == "cds.prefetch_unsatisfied"


def test_a_missing_prefetch_is_as_good_as_an_empty_one(ehr: EhrClient) -> None:
    assert ehr.call("patient-view", "nobody").status_code == 412


def test_null_says_that_there_is_no_such_patient(ehr: EhrClient) -> None:
    card = ehr.card("patient-view", "nobody", prefetch={"patient": None})
    assert card["summary"] == "Nothing is held here about this patient."


def test_a_known_patient_needs_no_prefetch(ehr: EhrClient, review_id: UUID) -> None:
    for prefetch in (None, {"patient": {"resourceType": "OperationOutcome"}}):
        more = {} if prefetch is None else {"prefetch": prefetch}
        assert ehr.card("patient-view", "p1", **more)["uuid"]


def test_an_unkeyed_bundle_as_healthchain_sends_it_satisfies_nothing(
    ehr: EhrClient, review_id: UUID
) -> None:
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": patient_resource("p1")}],
    }
    assert ehr.card("patient-view", "p1", prefetch=bundle)["uuid"]
    assert ehr.call("patient-view", "nobody", prefetch=bundle).status_code == 412


def test_a_patient_that_is_brought_along_is_stored_as_it_came_and_understood_later(
    stage: Stage, ehr: EhrClient
) -> None:
    raw = b'{ "resourceType":"Patient","id":"fresh","gender":"female", "birthDate":"1950-01-02" }'
    body = (
        b'{"hook":"patient-view","hookInstance":"%s","context":{"userId":"Practitioner/1",'
        b'"patientId":"fresh"},"prefetch":{"patient":%s}}' % (str(uuid4()).encode(), raw)
    )
    for _ in range(2):
        answer = ehr.post("forecast", body)
        assert answer.status_code == 200
        [card] = answer.json()["cards"]
        assert card["summary"].startswith("No forecast yet")
    with stage.engine.connect() as connection:
        [row] = connection.execute(text("SELECT site, door, body FROM deliveries")).all()
    assert (row.site, row.door, bytes(row.body)) == ("north", "fhir", raw)
    [entry] = entries_of(stage, AuditKind.DELIVERY_RECEIVED)
    assert entry.actor == f"cds:{ISSUER}"


def test_who_does_not_say_who_they_are_brings_nothing_along(engine: Engine) -> None:
    for stage in _staged(engine, site={"is_required": False}):
        stage.add_patient("p1")
        body = {
            "hook": "patient-view",
            "hookInstance": str(uuid4()),
            "context": {"userId": "Practitioner/1", "patientId": "p1"},
            "prefetch": {"patient": patient_resource("p1")},
        }
        answer = stage.client.post("/cds/north/cds-services/forecast", json=body)
        assert answer.status_code == 200
        with stage.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM deliveries")) == 0


def test_a_page_of_a_bundle_is_taken_and_said_to_be_one_and_nothing_is_fetched(
    engine: Engine,
) -> None:
    prefetch = {"patient": "Patient/{{context.patientId}}", "labs": "Observation?patient=…"}
    for stage in _staged(engine, site={"prefetch": prefetch}):
        stage.add_patient("p1")
        page = {
            "resourceType": "Bundle",
            "type": "searchset",
            "link": [{"relation": "next", "url": "http://127.0.0.1:1/never"}],
            "entry": [{"resource": patient_resource("p1")}],
        }
        card = EhrClient(stage.client, stage.clock).card(
            "patient-view", "p1", prefetch={"labs": page}
        )
        assert "only the first page came" in card["detail"]
        metrics = stage.client.get("/metrics").text
        assert 'clinical_cds_prefetch_total{fetched="partly"} 1.0' in metrics


# What is refused.


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"hookInstance": None}, "hookInstance"),
        ({"hookInstance": "7"}, "hookInstance"),
        ({"context": {"patientId": "p1"}}, "context.userId"),
        ({"context": {"userId": "Practitioner/1"}}, "context.patientId"),
        ({"context": {"userId": "Practitioner/1", "patientId": "Group/1"}}, "context.patientId"),
        ({"context": {"userId": "Practitioner/1", "patientId": "a b"}}, "context.patientId"),
        ({"context": None}, "context"),
        ({"context": []}, "context"),
        ({"hook": None}, "hook"),
        ({"prefetch": []}, "prefetch"),
        ({"prefetch": {"patient": "text"}}, "prefetch.patient"),
        ({"prefetch": {"patient": {"id": "1"}}}, "prefetch.patient"),
        ({"prefetch": {"other": {"response": {}, "resource": {}}}}, "prefetch.?"),
        ({"fhirAuthorization": {"access_token": "t"}}, "fhirAuthorization"),
    ],
)
def test_a_call_against_the_specification_is_refused_by_the_name_of_its_member(
    ehr: EhrClient, change: dict[str, Any], place: str
) -> None:
    body = {
        "hook": "patient-view",
        "hookInstance": str(uuid4()),
        "context": {"userId": "Practitioner/1", "patientId": "p1"},
    }
    body |= change
    body = {name: value for name, value in body.items() if value is not None}
    answer = ehr.post("forecast", body)
    assert answer.status_code == 400, answer.text
    told = answer.json()
    assert code_of(answer) == "cds.invalid_call"
    assert told["detail"].startswith(place)
    assert ".".join(told["errors"][0]["place"]).startswith(place)


def test_a_fhir_token_needs_its_server(ehr: EhrClient) -> None:
    token = {
        "access_token": "very-secret",
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "patient/*.rs",
        "subject": "cds",
    }
    answer = ehr.call("patient-view", "p1", fhirAuthorization=token)
    assert answer.status_code == 400
    assert "fhirServer: required with fhirAuthorization" in answer.json()["detail"]
    assert "very-secret" not in answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(ehr: EhrClient, body: bytes) -> None:
    answer = ehr.post("forecast", body)
    assert answer.status_code in (400, 413)


def test_only_the_server_of_the_site_may_be_named(ehr: EhrClient, review_id: UUID) -> None:
    assert ehr.call("patient-view", "p1", fhirServer=f"{FHIR}/").status_code == 200
    answer = ehr.call("patient-view", "p1", fhirServer="http://169.254.169.254/latest")
    assert (answer.status_code, code_of(answer)) == (400, "cds.foreign_server")


@pytest.mark.parametrize(
    ("service", "hook"),
    [("nonsense", "patient-view"), ("forecast", "order-sign"), ("forecast", "order-dispatch")],
)
def test_an_unknown_service_or_hook_is_not_found(ehr: EhrClient, service: str, hook: str) -> None:
    answer = ehr.call(hook, "p1", service=service, context=drafted(order("p1")))
    assert (answer.status_code, code_of(answer)) == (404, "cds.unknown_service")


def test_an_encounter_hook_needs_its_encounter(ehr: EhrClient) -> None:
    body = {
        "hook": "encounter-start",
        "hookInstance": str(uuid4()),
        "context": {"userId": "Practitioner/1", "patientId": "p1"},
    }
    answer = ehr.post("forecast", body)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("context.encounterId")


def test_unknown_members_and_extensions_are_no_fault(ehr: EhrClient, review_id: UUID) -> None:
    more = {"extension": {"com.example": {"x": [1]}}, "future": 1}
    assert ehr.card("patient-view", "p1", context={"extension": {}}, **more)["uuid"]


def test_a_site_without_clients_has_no_such_door(stage: Stage) -> None:
    other = EhrClient(stage.client, stage.clock, site="south")
    assert other.discover().status_code == 404
    assert other.call("patient-view", "p1").status_code == 404


# Draft orders.


class ShippedModel(StagedModel):
    """The shipped model in this process, under the name of the staged one."""

    def forecast(self, request: PredictionRequest, timeline: Timeline) -> Forecast:
        [said] = local_model(self.log_odds).planner.inference.forecast([(request, timeline)])
        return replace(said, capsule=replace(said.capsule, model=self.fingerprint()))


def add_shipped_patient(stage: Stage) -> UUID:
    """A shipped patient, just after the last that is known of them; the review of their prediction."""
    patient = PatientRef("north", "shipped")
    events = [replace(e, patient_id=patient.patient_id) for e in shipped_patient()]
    known = max(event.available_at for event in events)
    stage.clock.moment = known + timedelta(hours=1)
    stage.record(patient, [replace(e, received_at=stage.clock.moment) for e in events])
    return stage.predict(patient)


def test_order_select_shows_the_course_with_and_without_the_draft(
    engine: Engine,
) -> None:
    for stage in _staged(engine, model=ShippedModel(log_odds=0.0)):
        _shows_both_courses(stage, add_shipped_patient(stage))


def _shows_both_courses(stage: Stage, review_id: UUID) -> None:
    ehr = EhrClient(stage.client, stage.clock)
    dose = {"doseAndRate": [{"doseQuantity": {"value": 10, "unit": "mg"}}]}
    drafts = drafted(
        order("shipped", dosageInstruction=[dose]),
        order("shipped", "999", "Unheard 5 MG", id="draft-2"),
    )
    both = ["MedicationRequest/draft-1", "MedicationRequest/draft-2"]
    card = ehr.card("order-select", "shipped", context={**drafts, "selections": both})
    detail = card["detail"]
    assert card["summary"].endswith("with and without the draft")
    assert "| What | Window | No change | With the draft |" in detail
    assert "Expected course among similar patients under this plan." in detail
    assert "a difference is not what the draft does" in detail
    assert "Draft: Simvastatin 10 MG." in detail
    assert "Unheard 5 MG" in detail.split("Not in it")[1]
    assert "effect" not in detail
    with stage.deps.open_unit_of_work() as uow:
        [stored] = uow.plan_comparisons.of_review(review_id, limit=5)
    assert f"`{stored.question.comparison_id}`" in detail
    replay = ReplayService(
        open_unit_of_work=stage.deps.open_unit_of_work, models=stage.model, planner=stage.model
    ).replay(stored.question.comparison_id)
    assert replay.recomputed.replay is Replay.EQUAL
    [entry] = entries_of(stage, AuditKind.PLANS_COMPARED)
    assert entry.actor == f"cds:{ISSUER}"
    assert entry.refs["comparison"] == str(stored.question.comparison_id)


def test_the_same_drafts_are_not_put_to_the_model_again(
    stage: Stage, ehr: EhrClient, review_id: UUID
) -> None:
    _say_plannable(stage)
    drafts = drafted(order("p1"))
    selected = {**drafts, "selections": ["MedicationRequest/draft-1"]}
    ehr.card("order-select", "p1", context=selected)
    ehr.card("order-sign", "p1", context=drafts)
    with stage.deps.open_unit_of_work() as uow:
        assert len(uow.plan_comparisons.of_review(review_id, limit=5)) == 1


def test_a_draft_that_the_model_never_learned_is_said_to_be_in_no_course(
    ehr: EhrClient, review_id: UUID
) -> None:
    card = ehr.card("order-sign", "p1", context=drafted(order("p1", "999", "Unheard 5 MG")))
    assert "the model does not know it as a plan" in card["detail"]
    assert "Unheard 5 MG" in card["detail"]
    assert "| With the draft |" not in card["detail"]


def test_an_order_about_somebody_else_is_in_no_course(
    stage: Stage, ehr: EhrClient, review_id: UUID
) -> None:
    _say_plannable(stage)
    card = ehr.card("order-sign", "p1", context=drafted(order("p2")))
    assert "| With the draft |" not in card["detail"]


def test_a_selection_must_be_one_of_the_drafts(ehr: EhrClient, review_id: UUID) -> None:
    for selection in ("MedicationRequest/other", "draft-1"):
        context = {**drafted(order("p1")), "selections": [selection]}
        answer = ehr.call("order-select", "p1", context=context)
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("context.selections.0")


def test_a_draft_that_is_no_fhir_is_refused_by_its_place(ehr: EhrClient, review_id: UUID) -> None:
    answer = ehr.call("order-sign", "p1", context=drafted(order("p1", status="Xactive")))
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("context.draftOrders: entry[0]: status")


def test_order_hooks_need_their_drafts(ehr: EhrClient) -> None:
    for hook in ("order-select", "order-sign"):
        answer = ehr.call(hook, "p1", context={"selections": []})
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("context.draftOrders")


def test_a_model_that_is_away_leaves_the_stored_forecast_and_a_sentence(
    stage: Stage, ehr: EhrClient, review_id: UUID
) -> None:
    stage.model.is_away = True
    card = ehr.card("order-sign", "p1", context=drafted(order("p1")))
    assert "No model answers now" in card["detail"]
    assert "| Emergency visit |" in card["detail"]


class BusyModel(StagedModel):
    """Takes no question about plans."""

    def plannable(self, actions: tuple[str, ...]) -> tuple[bool, ...]:
        raise ModelBusyError("too many questions")


def test_a_model_that_is_busy_leaves_the_stored_forecast_and_a_sentence(engine: Engine) -> None:
    for stage in _staged(engine, model=BusyModel()):
        stage.add_patient("p1")
        ehr = EhrClient(stage.client, stage.clock)
        card = ehr.card("order-sign", "p1", context=drafted(order("p1")))
        assert "No model answers now" in card["detail"]


def test_a_model_that_is_slow_is_not_waited_for_and_asked_once_by_all_who_ask_the_same(
    engine: Engine,
) -> None:
    for stage in _staged(engine, compare_seconds=0.0):
        _say_plannable(stage)
        review_id = stage.add_patient("p1")
        ehr = EhrClient(stage.client, stage.clock)
        for _ in range(3):
            card = ehr.card("order-sign", "p1", context=drafted(order("p1")))
            assert "not foretold in time" in card["detail"]
            assert "| Emergency visit |" in card["detail"]
        assert _waited_for_comparison(stage, review_id)
        with stage.deps.open_unit_of_work() as uow:
            assert len(uow.plan_comparisons.of_review(review_id, limit=5)) == 1


# What is remembered.


def test_every_call_of_a_known_client_is_in_the_audit_log_and_no_patient(
    stage: Stage, ehr: EhrClient, review_id: UUID
) -> None:
    ehr.discover()
    answer = ehr.call("patient-view", "p1")
    ehr.call("patient-view", "nobody-known")
    ehr.post("forecast", {"hook": "patient-view"})
    entries = entries_of(stage, AuditKind.CARDS_ASKED)
    outcomes = [entry.refs["outcome"] for entry in entries]
    assert outcomes == ["listed", "shown", "cds.prefetch_unsatisfied", "cds.invalid_call"]
    shown = entries[1]
    assert shown.actor == f"cds:{ISSUER}"
    assert shown.request_id == answer.headers["x-request-id"]
    assert shown.refs["review"] == str(review_id)
    assert shown.refs["card"] == answer.json()["cards"][0]["uuid"]
    assert shown.refs["user"] == "Practitioner/dr-1"
    patient_id = str(PatientRef("north", "p1").patient_id)
    for entry in entries:
        assert "p1" not in json.dumps(entry.refs)
        assert patient_id not in json.dumps(entry.refs)


def test_a_user_who_is_no_professional_is_not_named(
    stage: Stage, ehr: EhrClient, review_id: UUID
) -> None:
    ehr.card("patient-view", "p1", context={"userId": "Patient/p1"})
    [entry] = entries_of(stage, AuditKind.CARDS_ASKED)
    assert "user" not in entry.refs


def test_feedback_is_kept_beside_the_review_once_and_audited(
    stage: Stage, ehr: EhrClient, review_id: UUID
) -> None:
    card = ehr.card("patient-view", "p1")["uuid"]
    item = {
        "card": card,
        "outcome": "overridden",
        "overrideReason": {
            "reason": {"code": "data_wrong", "system": "urn:clinical-jepa:override-reason"},
            "userComment": "Old weight.",
        },
        "outcomeTimestamp": "2024-06-15T12:01:00Z",
    }
    accepted = {"card": card, "outcome": "accepted", "outcomeTimestamp": "2024-06-15T12:02:00Z"}
    for items in ([item], [item], [item, accepted]):
        assert ehr.feedback(items).status_code == 200
    stage.sign_in()
    told = stage.get(f"/v1/reviews/{review_id}").json()["card_feedback"]
    assert [each["verdict"] for each in told] == ["overridden", "accepted"]
    assert told[0]["reason_code"] == "data_wrong"
    assert told[0]["comment"] == "Old weight."
    assert told[0]["client"] == f"cds:{ISSUER}"
    entries = entries_of(stage, AuditKind.CARD_FEEDBACK)
    assert [entry.refs["verdict"] for entry in entries] == ["overridden", "accepted"]
    assert all(entry.refs["review"] == str(review_id) for entry in entries)
    assert "Old weight" not in json.dumps([entry.refs for entry in entries])
    with stage.deps.open_unit_of_work() as uow:
        contents = uow.payloads.contents(entries)
        salts = uow.audit_log.salts([entry.entry_id for entry in entries])
    for entry in entries:
        [(name, value)] = (contents[entry.entry_id] or {}).items()
        assert entry.vouches_for(name, value, salts[entry.entry_id])


@pytest.mark.parametrize(
    "items",
    [
        [],
        [{"card": str(uuid4()), "outcome": "ignored", "outcomeTimestamp": "2024-06-15T12:02:00Z"}],
        [{"card": "7", "outcome": "accepted", "outcomeTimestamp": "2024-06-15T12:02:00Z"}],
        [{"card": str(uuid4()), "outcome": "accepted"}],
        [{"card": str(uuid4()), "outcome": "accepted", "outcomeTimestamp": "2024-06-15T12:02:00"}],
    ],
)
def test_malformed_feedback_is_refused(ehr: EhrClient, items: Any) -> None:
    answer = ehr.feedback(items)
    assert (answer.status_code, code_of(answer)) == (400, "cds.invalid_call")


def test_feedback_on_a_card_that_was_never_shown_keeps_nothing(
    stage: Stage, ehr: EhrClient, review_id: UUID
) -> None:
    card = ehr.card("patient-view", "p1")["uuid"]
    known = {"card": card, "outcome": "accepted", "outcomeTimestamp": "2024-06-15T12:02:00Z"}
    answer = ehr.feedback([known, {**known, "card": str(uuid4())}])
    assert (answer.status_code, code_of(answer)) == (404, "cards.unknown_card")
    assert entries_of(stage, AuditKind.CARD_FEEDBACK) == []


def test_erasing_a_patient_takes_cards_and_feedback_along(
    stage: Stage, ehr: EhrClient, review_id: UUID
) -> None:
    card = ehr.card("patient-view", "p1")["uuid"]
    item = {"card": card, "outcome": "accepted", "outcomeTimestamp": "2024-06-15T12:02:00Z"}
    ehr.feedback([item])
    ErasureService(
        open_unit_of_work=stage.deps.open_unit_of_work,
        clock=stage.clock,
        identities=stage.deps.identities,
    ).erase(PatientRef("north", "p1"), "anna")
    with stage.engine.connect() as connection:
        for table in ("shown_cards", "card_feedback"):
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0


def _introduce(stage: Stage, record_id: str) -> None:
    """A patient who is known, and of whom nothing was foretold."""
    patient = PatientRef("north", record_id)
    known = stage.event_of(
        patient,
        record_id,
        code=Code(CodeSystem.GENDER, "male"),
        occurred_at=ClinicalTime.day(1946, 2, 3),
    )
    stage.record(patient, [known])


def _num_owed(stage: Stage) -> int:
    with stage.deps.open_unit_of_work() as uow:
        return uow.outbox.pending()


def _say_plannable(stage: Stage) -> None:
    stage.model.log_odds = 0.0


def _waited_for_comparison(stage: Stage, review_id: UUID) -> bool:
    for _ in range(600):
        with stage.deps.open_unit_of_work() as uow:
            if uow.plan_comparisons.of_review(review_id, limit=1):
                return True
        time.sleep(0.05)
    return False
