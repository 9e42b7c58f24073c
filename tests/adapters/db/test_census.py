"""The counts for the demo's table: what is there is counted, each thing once."""

from uuid import UUID

import pytest
from sqlalchemy import Engine

from adapters.db.census import Census, take_census
from clinical.audit.entry import Act
from clinical.services.delivery import Delivery, Door, Quarantined, Reading
from clinical.services.intake import Intake
from clinical.services.ports import OpenUnitOfWork
from clinical.services.prediction import PredictionService
from clinical.timeline.patient import PatientRef
from tests.clinical.builders import event, hours
from tests.fakes import FakeModelServer, SeededIdentities, SettableClock

pytestmark = pytest.mark.integration

ADA = PatientRef("north", "ada")
BROKEN = Quarantined(
    position="line 2",
    record_type="Observation",
    record_id="o9",
    digest="ab",
    reason_code="x.y",
    detail="",
)


class OneReading:
    """Reads the same out of every delivery."""

    def read(self, delivery: Delivery) -> Reading:
        events = [event(f"o{n}", at=n, patient_id=ADA.patient_id) for n in range(3)]
        return Reading(events=events, patients={ADA.patient_id: ADA}, quarantined=[BROKEN])


def test_an_empty_database_has_nothing(engine: Engine) -> None:
    assert take_census(engine) == Census(
        num_patients=0,
        num_events=0,
        num_deliveries=0,
        num_unrecorded_deliveries=0,
        num_quarantined=0,
        num_predictions=0,
        num_abstained=0,
        num_audit_entries=0,
        num_reviews_by_state={},
        num_messages_by_state={},
    )


def test_everything_on_the_way_from_delivery_to_review_is_counted(
    engine: Engine, open_unit_of_work: OpenUnitOfWork, identities: SeededIdentities
) -> None:
    clock, act = SettableClock(hours(2000)), Act(actor="test", at=hours(2000))
    intake = Intake(
        open_unit_of_work=open_unit_of_work,
        clock=clock,
        identities=identities,
        readers={Door.FHIR: OneReading()},
    )
    for number in range(2):
        delivery = Delivery(
            delivery_id=UUID(int=number),
            site="north",
            door=Door.FHIR,
            sender_id=str(number),
            body=b"{}",
            content_type="application/fhir+json",
            received_at=clock.now(),
        )
        intake.receive(delivery, act)
    intake.record(UUID(int=0), act)
    PredictionService(
        open_unit_of_work=open_unit_of_work,
        clock=clock,
        identities=identities,
        models=FakeModelServer(min_events=9),
    ).make(ADA.patient_id, act)
    assert take_census(engine) == Census(
        num_patients=1,
        num_events=3,
        num_deliveries=2,
        num_unrecorded_deliveries=1,
        num_quarantined=1,
        num_predictions=1,
        num_abstained=1,
        num_audit_entries=7,
        num_reviews_by_state={"queued": 1},
        num_messages_by_state={"waiting": 3},
    )
