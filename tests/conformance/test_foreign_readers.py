"""Clients that others wrote read what we expose, over real HTTP: fhirpy, fhirclient and sekmet-fhir."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fhirclient import client as smart
from fhirclient.models.auditevent import AuditEvent
from fhirclient.models.riskassessment import RiskAssessment
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ForbiddenError, ResourceNotFound

from tests.conformance.conftest import Exposed

HERE = Path(__file__).parent


def fhirpy_client(exposed: Exposed, token: str) -> SyncFHIRClient:
    return SyncFHIRClient(exposed.base, authorization=f"Bearer {token}")


def smart_client(exposed: Exposed, token: str) -> smart.FHIRClient:
    made = smart.FHIRClient(settings={"app_id": "a_reader", "api_base": exposed.base})
    made.server.session.headers["Authorization"] = f"Bearer {token}"
    return made


def test_fhirpy_lists_and_reads_risk_assessments_page_by_page(exposed: Exposed) -> None:
    decided = {str(exposed.decide(f"p{i}")) for i in range(5)}
    client = fhirpy_client(exposed, exposed.clinician)
    found = client.resources("RiskAssessment").limit(2).fetch_all()
    assert {each.id for each in found} == decided
    assert len(found) == 5
    read = client.reference("RiskAssessment", found[0].id).to_resource()
    assert read["prediction"][0]["probabilityRange"]["low"]["unit"] == "%"
    assert read["meta"]["security"][0]["code"] == "AIAST"


def test_fhirpy_follows_the_references_of_a_risk_assessment(exposed: Exposed) -> None:
    exposed.decide("p1")
    (assessment,) = fhirpy_client(exposed, exposed.clinician).resources("RiskAssessment").fetch()
    assert assessment["performer"].to_resource()["deviceName"][0]["name"] == "staged"
    assert assessment["subject"].to_resource()["identifier"][1] == {
        "system": "urn:clinical-jepa:site:north",
        "value": "p1",
    }


def test_fhirpy_is_told_in_an_operation_outcome_what_it_may_not_read(exposed: Exposed) -> None:
    with pytest.raises(ForbiddenError, match="OperationOutcome"):
        fhirpy_client(exposed, exposed.auditor).resources("RiskAssessment").fetch()
    client = fhirpy_client(exposed, exposed.clinician)
    with pytest.raises(ResourceNotFound):
        client.reference("RiskAssessment", "00000000-0000-0000-0000-000000000000").to_resource()


def test_fhirpy_searches_audit_events_of_a_patient(exposed: Exposed) -> None:
    prediction_id = exposed.decide("p1")
    exposed.decide("p2")
    (told,) = (
        fhirpy_client(exposed, exposed.clinician)
        .resources("RiskAssessment")
        .search(_id=str(prediction_id))
        .fetch()
    )
    events = fhirpy_client(exposed, exposed.auditor).resources("AuditEvent")
    found = events.search(patient=told["subject"]["reference"]).fetch_all()
    kinds = [each["subtype"][1]["code"] for each in found]
    assert kinds == [
        "resources.searched.v1",
        "review.signed.v1",
        "review.claimed.v1",
        "review.opened.v1",
        "prediction.stored.v1",
    ]
    assert {each["entity"][0]["what"]["reference"] for each in found} == {
        told["subject"]["reference"]
    }


def test_fhirclient_lists_and_reads_risk_assessments(exposed: Exposed) -> None:
    decided = str(exposed.decide("p1"))
    server = smart_client(exposed, exposed.clinician).server
    (found,) = RiskAssessment.where(struct={}).perform_resources_iter(server)
    assert found.id == decided
    read = RiskAssessment.read(decided, server)
    assert read.prediction[0].probabilityRange.high.code == "%"
    assert read.status == "final"


def test_fhirclient_lists_and_reads_audit_events_by_pages(exposed: Exposed) -> None:
    exposed.decide("p1")
    server = smart_client(exposed, exposed.auditor).server
    found = list(AuditEvent.where(struct={"_count": "2"}).perform_resources_iter(server))
    kinds = {each.subtype[1].code for each in found if len(each.subtype) > 1}
    assert {"review.signed.v1", "token.issued.v1", "prediction.stored.v1"} <= kinds
    read = AuditEvent.read(found[0].id, server)
    assert read.agent[0].type.coding[0].system == "http://dicom.nema.org/resources/ontology/DCM"


def test_fhirclient_understands_our_capability_statement(exposed: Exposed) -> None:
    statement = smart_client(exposed, exposed.clinician).server.capabilityStatement
    assert statement.fhirVersion == "4.0.1"
    assert {each.type for each in statement.rest[0].resource} == {
        "AuditEvent",
        "Device",
        "Patient",
        "Provenance",
        "RiskAssessment",
    }


def sekmet(exposed: Exposed, scenario: str, folder: Path, token: str) -> dict[str, dict[str, Any]]:
    """What sekmet-fhir, as a client of ours, found at each step of one of its scenarios."""
    (folder / "settings.yaml").write_text(
        "simulator: {enabled: false}\npeers:\n  clinical:\n"
        f"    base_url: {exposed.base}\n    auth: {{type: bearer, token: {token}}}\n"
    )
    command = [str(Path(sys.executable).with_name("sekmet")), "scenario", "run", scenario]
    command += ["--peer", "clinical", "--no-serve", "-c", "settings.yaml", "--report-dir", "out"]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # noqa: TID251
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, check=False)
    reports = list(folder.glob("out/**/*.json"))
    assert reports, done.stderr.decode()
    (result,) = json.loads(reports[0].read_text())
    return {step["name"]: step for step in result["steps"]}


def test_sekmet_passes_its_scenario_of_reading_against_us(exposed: Exposed, tmp_path: Path) -> None:
    """Its runner and its FHIRPath over our answers; the steps are ours, in its language."""
    exposed.decide("p1")
    exposed.decide("p2")
    scenario = str(HERE / "scenarios" / "read_only.yaml")
    steps = sekmet(exposed, scenario, tmp_path, exposed.clinician)
    assert [step["message"] for step in steps.values() if step["status"] != "passed"] == []
    assert len(steps) == 9


def test_of_sekmets_own_smoke_test_we_pass_what_a_server_for_reading_can_pass(
    exposed: Exposed, tmp_path: Path
) -> None:
    """The rest is skipped for what we do not claim, or needs a resource that it cannot create here."""
    steps = sekmet(exposed, "conformance_smoke", tmp_path, exposed.clinician)
    by_status: dict[str, int] = {}
    for step in steps.values():
        by_status[step["status"]] = by_status.get(step["status"], 0) + 1
    assert steps["CapabilityStatement"]["status"] == "passed"
    assert "405 not-supported" in steps["Create Patient"]["message"]
    assert steps["Transaction with urn:uuid references"]["status"] == "skipped"
    assert by_status == {"passed": 2, "failed": 4, "error": 3, "skipped": 8, "warning": 1}
