"""Services on a real database, with the clock, the identities and the outside in the test's hand."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from clinical.audit.entry import Act, AuditEntry
from clinical.audit.sealing import sealed
from clinical.services.audit import AuditService
from clinical.services.delivery import Delivery, Door, Quarantined, Reading
from clinical.services.intake import Intake
from clinical.services.ports import OpenUnitOfWork
from clinical.services.prediction import PredictionService
from clinical.services.replay import ReplayService
from clinical.services.review import ReviewService
from clinical.services.writeback import WriteBackService
from clinical.timeline.patient import PatientRef
from tests.clinical.builders import PATIENT, event
from tests.fakes import FakeEhr, FakeModelServer, SeededIdentities, SettableClock


@dataclass
class ScriptedReader:
    """Understands every delivery as the reading that the test prepared; it is not the subject here."""

    reading: Reading = field(default_factory=Reading)
    num_asked: int = 0

    def read(self, delivery: Delivery) -> Reading:
        self.num_asked += 1
        return self.reading


@dataclass
class World:
    """All services over one database."""

    open_unit_of_work: OpenUnitOfWork
    clock: SettableClock
    identities: SeededIdentities
    reader: ScriptedReader
    models: FakeModelServer
    ehr: FakeEhr
    intake: Intake
    predictions: PredictionService
    replays: ReplayService
    reviews: ReviewService
    write_back: WriteBackService
    audit: AuditService

    def act(self, actor: str = "anna") -> Act:
        return Act(actor=actor, at=self.clock.advance(timedelta(seconds=1)), request_id="r1")

    def delivery(self, body: bytes = b"{}", sender_id: str = "d1") -> Delivery:
        return Delivery(
            delivery_id=self.identities.new(),
            site="north",
            door=Door.FHIR,
            sender_id=sender_id,
            body=body,
            content_type="application/fhir+json",
            received_at=self.clock.now(),
        )

    def history(self, **refs: str) -> list[AuditEntry]:
        with self.open_unit_of_work() as uow:
            return uow.audit_log.history(**refs)

    def stands_for(self, entry: AuditEntry, **content: str) -> bool:
        """Whether the entry's commitments are to just this content."""
        with self.open_unit_of_work() as uow:
            salt = uow.audit_log.salts([entry.entry_id])[entry.entry_id]
        told = {name: entry.refs[name] for name in entry.sealed_refs}
        return told == {name: sealed(salt, name, value) for name, value in content.items()}


@pytest.fixture
def world(
    open_unit_of_work: OpenUnitOfWork, frozen_clock: SettableClock, identities: SeededIdentities
) -> World:
    """Twelve events of one patient wait to be understood."""
    events = [event(f"o{n}", at=n, received=n, value=str(90 + n)) for n in range(12)]
    broken = Quarantined(
        position="entry[3]",
        record_type="Observation",
        record_id="x",
        digest="0" * 64,
        reason_code="fhir.impossible_date",
        detail="effectiveDateTime is no date",
    )
    reading = Reading(
        events=events, patients={PATIENT: PatientRef("north", "p1")}, quarantined=[broken]
    )
    reader, models, ehr = ScriptedReader(reading), FakeModelServer(), FakeEhr()
    outside = {
        "open_unit_of_work": open_unit_of_work,
        "clock": frozen_clock,
        "identities": identities,
    }
    return World(
        open_unit_of_work=open_unit_of_work,
        clock=frozen_clock,
        identities=identities,
        reader=reader,
        models=models,
        ehr=ehr,
        intake=Intake(**outside, readers={Door.FHIR: reader}),  # type: ignore[arg-type]
        predictions=PredictionService(**outside, models=models),  # type: ignore[arg-type]
        replays=ReplayService(open_unit_of_work=open_unit_of_work, models=models, planner=models),  # type: ignore[arg-type]
        reviews=ReviewService(**outside, writes_back={"north"}),  # type: ignore[arg-type]
        write_back=WriteBackService(**outside, ehr=ehr),  # type: ignore[arg-type]
        audit=AuditService(open_unit_of_work=open_unit_of_work, clock=frozen_clock),
    )
