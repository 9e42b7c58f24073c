"""A page to drive: the real app on a real server and database, with sample patients through the services."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import pytest
from playwright.sync_api import Browser
from sqlalchemy import Engine

from adapters.clock import SystemClock
from adapters.db.clinicians import Clinicians
from adapters.fhir.reader import BulkReader
from adapters.http.app import create_app
from adapters.http.dependencies import WebDependencies
from clinical.audit.entry import Act
from clinical.services.audit import AuditService
from clinical.services.delivery import Delivery, Door
from clinical.services.intake import Intake
from clinical.services.prediction import PredictionService
from pipelines.samples import demo_bundles
from tests.adapters.http.conftest import dependencies, served
from tests.adapters.http.stage import StagedModel
from tests.browser.chromium import chromium, executable
from tests.required import is_absent

NAME, PASSWORD = "anna", "correct horse battery"
_NUM_PATIENTS = 4
_THIN = b"""{"resourceType": "Bundle", "type": "collection", "entry": [
  {"resource": {"resourceType": "Patient", "id": "thin", "gender": "female", "birthDate": "1961-05-07"}},
  {"resource": {"resourceType": "Observation", "id": "thin-1", "status": "final",
   "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4",
            "display": "<img src=x onerror=alert(1)> Heart rate"}]},
   "subject": {"reference": "Patient/thin"}, "effectiveDateTime": "2024-01-05T10:00:00Z",
   "valueQuantity": {"value": 72, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}}}
]}"""


@dataclass(frozen=True)
class Desk:
    """Where the page is, and what it stands on."""

    address: str
    deps: WebDependencies
    patient_ids: tuple[UUID, ...]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if executable() is None:
        is_absent("Chromium")
    with chromium() as started:
        yield started


@pytest.fixture
def desk_of_anna(engine: Engine) -> Iterator[Desk]:
    """A few sample patients and one of whom next to nothing is known, each with a review."""
    model, clock = StagedModel(), SystemClock()
    deps = dependencies(engine, clock, model)
    Clinicians(engine).add(NAME, "Dr Anna Lindqvist", PASSWORD, "clinician")
    patient_ids = _send_patients(deps, model)
    AuditService(open_unit_of_work=deps.open_unit_of_work, clock=clock).sequence()
    with served(create_app(deps)) as client:
        yield Desk(address=str(client.base_url), deps=deps, patient_ids=patient_ids)


def _send_patients(deps: WebDependencies, model: StagedModel) -> tuple[UUID, ...]:
    """Through the journeys: received, understood, predicted."""
    intake = Intake(
        open_unit_of_work=deps.open_unit_of_work,
        clock=deps.clock,
        identities=deps.identities,
        readers={Door.FHIR_BULK: BulkReader()},
    )
    predictions = PredictionService(
        open_unit_of_work=deps.open_unit_of_work,
        clock=deps.clock,
        identities=deps.identities,
        models=model,
    )
    patient_ids: list[UUID] = []
    for name, body in [*_smallest_bundles(), ("thin", _THIN)]:
        act = Act(actor="worker", at=deps.clock.now())
        delivery = Delivery(
            delivery_id=deps.identities.new(),
            site="sample",
            door=Door.FHIR_BULK,
            sender_id=name,
            body=body,
            content_type="application/fhir+json",
            received_at=deps.clock.now(),
        )
        receipt = intake.receive(delivery, act)
        recorded = intake.record(receipt.delivery_id, act)
        for patient_id in recorded.reading.patients:
            predictions.make(patient_id, act)
            patient_ids.append(patient_id)
    return tuple(patient_ids)


def _smallest_bundles() -> list[tuple[str, bytes]]:
    return sorted(demo_bundles(), key=lambda bundle: len(bundle[1]))[4 : 4 + _NUM_PATIENTS]
