"""An EHR opens a record, is shown the stored forecast, drafts an order, and says what became of the card.

The real processes, as `clinical up` starts them; the EHR signs every call.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from adapters.clock import SystemClock
from adapters.db.clinicians import Clinicians
from adapters.db.embedded import EmbeddedPostgres
from adapters.db.engine import create_engine
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.http.cds_schemas import Discovery
from clinical.audit.entry import AuditKind
from clinical.services.ports import OpenUnitOfWork
from tests.adapters.http.cds_stage import (
    ISSUER,
    JKU,
    EhrClient,
    drafted,
    key_set,
    order,
    patient_resource,
)
from tests.journeys.conftest import PASSWORD, SECRET, SITE
from tests.journeys.visitor import Clinician, deliver
from tests.planning import checkpoint_with, constant_probes, local_model, shipped_bundle
from tests.stack import Started, free_ports, up, wait_until

pytestmark = pytest.mark.integration
SITES = """
[sites.{site}.fhir]
base_url = "https://ehr.example/fhir"

[sites.{site}.cds_hooks]
public_url = "https://cds.example/clinical"

[[sites.{site}.cds_hooks.clients]]
issuer = "{issuer}"
jku = "{jku}"
jwks_file = "ehr.jwks.json"
"""


@dataclass(frozen=True)
class Ward:
    """A site, the EHR that asks it, and the shipped patient, of whom a forecast is stored."""

    started: Started
    ehr: EhrClient
    clinician: Clinician
    review_id: UUID
    patient: str
    folder: Path
    open_unit_of_work: OpenUnitOfWork


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("cds")
    (folder / "ehr.jwks.json").write_text(json.dumps(key_set()))
    sites = folder / "sites.toml"
    sites.write_text(SITES.format(site=SITE, issuer=ISSUER, jku=JKU))
    inference = local_model().planner.inference
    settings = {
        "CLINICAL_SITES_FILE": str(sites),
        "CLINICAL_WEBHOOK_SECRETS": json.dumps({SITE: [SECRET]}),
        "CLINICAL_MODEL_PORT": str(free_ports(1)[0]),
        "CLINICAL_MODEL_CHECKPOINT": str(
            checkpoint_with(constant_probes(inference, 0.0), folder / "checkpoint")
        ),
    }
    with up(folder, settings) as (started, web_url):
        with EmbeddedPostgres(folder / "data" / "postgres") as server:
            engine = create_engine(server.url)
            Clinicians(engine).add("dr-dale", "Dr Dale", PASSWORD, "clinician")
            body = shipped_bundle()[0]
            assert deliver(web_url, SITE, SECRET, _recent(body)).status_code == 202
            clinician = Clinician(web_url, "dr-dale", PASSWORD)
            wait_until(lambda: clinician.get("/v1/reviews")["total"] == 1)
            [line] = clinician.get("/v1/reviews")["reviews"]
            resources = [entry["resource"] for entry in json.loads(body)["entry"]]
            [patient] = [each["id"] for each in resources if each["resourceType"] == "Patient"]
            with httpx.Client(base_url=web_url, timeout=30, trust_env=False) as client:
                yield Ward(
                    started=started,
                    ehr=EhrClient(
                        client, SystemClock(), site=SITE, public="https://cds.example/clinical"
                    ),
                    clinician=clinician,
                    review_id=UUID(line["review"]["review_id"]),
                    patient=patient,
                    folder=folder,
                    open_unit_of_work=unit_of_work_factory(engine),
                )
            clinician.close()
            engine.dispose()
        assert started.stop() == 0


def _recent(body: bytes) -> bytes:
    """The Bundle with one more measurement, of now: a forecast of years ago is shown to nobody."""
    bundle = json.loads(body)
    entries = [entry["resource"] for entry in bundle["entry"]]
    measured = next(
        each
        for each in entries
        if each["resourceType"] == "Observation" and "valueQuantity" in each
    )
    now = SystemClock().now().isoformat(timespec="seconds")
    newest = {**measured, "id": "newest", "effectiveDateTime": now, "issued": now}
    bundle["entry"].append(
        {
            "fullUrl": "urn:uuid:5f0c6f2e-0000-4000-8000-00000000cd50",
            "resource": newest,
            "request": {"method": "POST", "url": "Observation"},
        }
    )
    return json.dumps(bundle).encode()


def test_from_discovery_over_a_card_to_the_review(ward: Ward) -> None:
    listed = Discovery.model_validate(ward.ehr.discover().json()).services
    assert "patient-view" in {service.hook for service in listed}

    card = ward.ehr.card("patient-view", ward.patient)
    assert "Data cut-off" in card["detail"]
    [link] = card["links"]
    assert link["url"] == f"https://cds.example/clinical/#review={ward.review_id}"

    said = {
        "card": card["uuid"],
        "outcome": "overridden",
        "overrideReason": {"reason": {"code": "not_relevant"}, "userComment": "Known for years."},
        "outcomeTimestamp": SystemClock().now().isoformat(),
    }
    for _ in range(2):
        assert ward.ehr.feedback([said]).status_code == 200

    [told] = ward.clinician.get(f"/v1/reviews/{ward.review_id}")["card_feedback"]
    assert (told["verdict"], told["comment"]) == ("overridden", "Known for years.")
    history = ward.clinician.get(f"/v1/reviews/{ward.review_id}/history")["entries"]
    kinds = [entry["kind"] for entry in history if entry["actor"] == f"cds:{ISSUER}"]
    assert kinds == [AuditKind.CARDS_ASKED, AuditKind.CARD_FEEDBACK]


def test_a_draft_order_is_put_to_the_model_process(ward: Ward) -> None:
    drafts = drafted(order(ward.patient))

    def shown() -> bool:
        detail = ward.ehr.card("order-sign", ward.patient, context=drafts)["detail"]
        return "| With the draft |" in detail or "No course is foretold" in detail

    wait_until(
        shown
    )  # the first time may be too slow on a busy machine: then it is stored meanwhile
    with ward.open_unit_of_work() as uow:
        [stored] = uow.plan_comparisons.of_review(ward.review_id, limit=5)
    assert stored.asked_by == f"cds:{ISSUER}"


def test_a_patient_that_is_brought_along_gets_a_forecast_of_their_own(ward: Ward) -> None:
    prefetch = {"patient": patient_resource("brought")}
    card = ward.ehr.card("patient-view", "brought", prefetch=prefetch)
    assert card["summary"].startswith("No forecast yet")

    def knows() -> bool:
        card = ward.ehr.card("patient-view", "brought", prefetch=prefetch)
        return "too_few_events" in card["detail"]

    wait_until(knows)


def test_who_is_not_trusted_gets_nothing(ward: Ward) -> None:
    ehr, path = ward.ehr, ward.ehr.path("forecast")
    token = ehr.token(path)
    assert ehr.call("patient-view", ward.patient, token=token).status_code == 200
    secret = base64.b64encode(b"a shared secret of thirty-two bytes").decode()
    for refused in (
        token,
        ehr.token(ehr.path()),
        ehr.token(path, key=secret, algorithm="HS256"),
        replace(ehr, header={"jku": "https://evil.example/jwks.json"}).token(path),
        ehr.token(path, iss="https://evil.example"),
    ):
        assert ehr.call("patient-view", ward.patient, token=refused).status_code == 401


def test_no_log_names_the_patient_or_a_token(ward: Ward) -> None:
    token = ward.ehr.token(ward.ehr.path("forecast"))
    ward.ehr.call("patient-view", ward.patient, token=token)
    logs = [path.read_text() for path in (ward.folder / "data" / "logs").glob("*.log")]
    assert logs
    for log in logs:
        assert ward.patient not in log
        assert token not in log
