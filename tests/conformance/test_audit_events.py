"""Audit entries as IHE BALP AuditEvents: every kind, whoever acted, valid everywhere and by BALP's rules."""

import base64
from typing import Any
from uuid import UUID

import pytest

from adapters.fhir.audit_events import Service, audit_event
from adapters.fhir.audit_kinds import SHAPES
from clinical.audit.entry import AuditEntry, AuditKind
from clinical.services.ports.disclosures import AuditedAct
from tests.conformance.balp import broken_rules, profile_of
from tests.conformance.entries import REFS, P, R, entry_of
from tests.conformance.validators import assert_valid_everywhere

SERVICE = Service(name="clinical.test/ledger", url="https://clinical.test")
ANNA_S_PATIENT, ANOTHER = UUID(int=31), UUID(int=32)
ACTORS = ("anna", "worker", "site:north", "anonymous")


def rendered(
    entry: AuditEntry, *patients: UUID, request_id: str = "req-1", shows_patients: bool = True
) -> dict[str, Any]:
    act = AuditedAct(entry=entry, patients=patients, request_id=request_id)
    return audit_event(act, SERVICE, shows_patients=shows_patients)


def agents(event: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {agent["type"]["coding"][0]["code"]: agent for agent in event["agent"]}


def entities(event: dict[str, Any], code: str) -> list[dict[str, Any]]:
    return [each for each in event["entity"] if each["type"]["code"] == code]


def test_no_kind_of_entry_is_without_a_shape_or_without_its_line_in_these_tests() -> None:
    assert set(SHAPES) == set(AuditKind) == set(REFS)


@pytest.mark.parametrize("kind", AuditKind)
def test_every_kind_is_valid_everywhere_whoever_acted_and_whomever_it_was_about(
    kind: AuditKind,
) -> None:
    for actor in ACTORS:
        for patients in ((), (ANNA_S_PATIENT,), (ANNA_S_PATIENT, ANOTHER)):
            assert_valid_everywhere(rendered(entry_of(kind, actor=actor), *patients))


@pytest.mark.parametrize("kind", AuditKind)
def test_every_kind_keeps_the_rules_of_the_balp_profile_that_it_claims(kind: AuditKind) -> None:
    for actor in ACTORS:
        for patients in ((), (ANNA_S_PATIENT,), (ANNA_S_PATIENT, ANOTHER)):
            event = rendered(entry_of(kind, actor=actor), *patients)
            if profile_of(event):
                assert broken_rules(event) == []
                assert profile_of(event).startswith("Patient") == (len(patients) == 1)


def test_what_was_refused_or_is_no_interaction_claims_no_profile() -> None:
    without = {kind for kind in AuditKind if not profile_of(rendered(entry_of(kind)))}
    assert without == {
        AuditKind.DELIVERY_REFUSED,
        AuditKind.MESSAGE_ABANDONED,
        AuditKind.REQUEST_REFUSED,
        AuditKind.SESSION_OPENED,
        AuditKind.LEDGER_EXPORTED,
        AuditKind.AUDIT_RUN,
        AuditKind.TIMELINES_EXPORTED,
        AuditKind.NOTE_SENT,
        AuditKind.GAP_GIVEN_UP,
        AuditKind.EHR_WRITTEN,  # a transaction: R4 has the interaction, BALP no profile for it
    }


def test_of_a_read_the_client_is_the_destination_and_of_a_write_and_a_query_the_source() -> None:
    read = agents(rendered(entry_of(AuditKind.REVIEW_READ)))
    written = agents(rendered(entry_of(AuditKind.REVIEW_SIGNED)))
    asked = agents(rendered(entry_of(AuditKind.RESOURCES_SEARCHED)))
    assert read["110153"]["who"]["display"] == SERVICE.name
    assert written["110152"]["who"]["display"] == SERVICE.name
    assert asked["110152"]["who"]["display"] == SERVICE.name


def test_of_a_delete_the_client_is_an_application_and_the_server_the_custodian() -> None:
    assert set(agents(rendered(entry_of(AuditKind.PATIENT_ERASED, actor="worker")))) == {
        "110150",
        "custodian",
    }


def test_a_person_is_the_requestor_with_a_purpose_and_without_a_person_the_client_is() -> None:
    by_anna = agents(rendered(entry_of(AuditKind.REVIEW_READ)))
    by_worker = agents(rendered(entry_of(AuditKind.EVENTS_RECORDED, actor="worker")))
    assert by_anna["IRCP"]["requestor"] is True
    assert by_anna["IRCP"]["who"]["identifier"]["value"] == "anna"
    assert by_anna["IRCP"]["purposeOfUse"][0]["coding"][0]["code"] == "TREAT"
    assert by_anna["110152"]["requestor"] is False
    assert by_worker["110153"]["requestor"] is True


def test_at_an_ehr_we_are_the_client() -> None:
    wrote = agents(rendered(entry_of(AuditKind.WRITEBACK_DONE, actor="worker")))
    asked = agents(rendered(entry_of(AuditKind.EHR_READ, actor="worker")))
    assert wrote["110153"]["who"]["display"] == SERVICE.name
    assert asked["110153"]["who"]["display"] == SERVICE.name
    assert asked["110152"]["who"]["display"] == "EHR of north"


def test_an_exchange_with_an_ehr_that_failed_is_a_failure_with_its_code() -> None:
    event = rendered(entry_of(AuditKind.EHR_READ, why="ehr.unavailable"))
    assert (event["outcome"], event["outcomeDesc"]) == ("8", "ehr.unavailable")


def test_the_request_id_of_the_caller_has_an_entity_of_its_own() -> None:
    event = rendered(entry_of(AuditKind.EVENTS_RECORDED), request_id="from-the-ehr-7")
    (request,) = entities(event, "XrequestId")
    assert request["what"]["identifier"] == {"value": "from-the-ehr-7"}
    assert entities(rendered(entry_of(AuditKind.REVIEW_READ), request_id=""), "XrequestId") == []


def test_a_query_is_told_in_base64_too() -> None:
    (query,) = entities(rendered(entry_of(AuditKind.WORKLIST_READ)), "2")
    assert base64.b64decode(query["query"]) == b"reviews?state=queued&limit=50"
    assert query["role"]["code"] == "24"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("400", "4"),
        ("404", "4"),
        ("413", "4"),
        ("401", "8"),
        ("403", "8"),
        ("429", "8"),
        ("503", "12"),
    ],
)
def test_a_refusal_tells_whose_fault_it_was(status: str, outcome: str) -> None:
    event = rendered(entry_of(AuditKind.REQUEST_REFUSED, status=status))
    assert event["outcome"] == outcome
    assert "12 times" in event["outcomeDesc"]
    assert event["action"] == "R"


def test_where_it_came_from_is_the_clients_network_and_is_not_guessed() -> None:
    known = agents(rendered(entry_of(AuditKind.RESOURCE_READ)))["110152"]
    unknown = agents(rendered(entry_of(AuditKind.REVIEW_READ)))["110152"]
    assert known["network"] == {"address": "10.0.0.7", "type": "2"}
    assert unknown["network"] == {"address": "urn:clinical-jepa:process:client", "type": "5"}


def test_a_patient_is_named_by_our_pseudonym_and_only_to_whom_may_see_it() -> None:
    entry = entry_of(AuditKind.REVIEW_READ)
    (patient,) = entities(rendered(entry, ANNA_S_PATIENT), "1")
    assert patient["what"]["reference"] == f"Patient/{ANNA_S_PATIENT}"
    hidden = rendered(entry, ANNA_S_PATIENT, shows_patients=False)
    assert str(ANNA_S_PATIENT) not in str(hidden)
    assert profile_of(hidden) == "Read"


def test_what_we_expose_is_referred_to_and_the_rest_is_named_by_identifier() -> None:
    (exposed,) = entities(rendered(entry_of(AuditKind.RESOURCE_READ)), "2")
    (other,) = entities(rendered(entry_of(AuditKind.REVIEW_READ)), "2")
    assert exposed["what"]["reference"] == f"RiskAssessment/{P}"
    assert "reference" not in other["what"]
    assert other["what"]["identifier"]["value"] == f"urn:uuid:{R}"


def test_what_was_fetched_is_a_read_of_the_ehr_and_what_was_delivered_a_create_here() -> None:
    fetched = rendered(entry_of(AuditKind.DELIVERY_RECEIVED, actor="worker", door="fhir_fetched"))
    delivered = rendered(entry_of(AuditKind.DELIVERY_RECEIVED, actor="site:north"))
    assert (fetched["action"], delivered["action"]) == ("R", "C")
