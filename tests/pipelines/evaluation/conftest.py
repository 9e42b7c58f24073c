"""A small stored site to audit: patients with a past and a future, predictions, reviews, a log."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from adapters.db.engine import create_engine
from adapters.db.unit_of_work import unit_of_work_factory
from clinical.audit.entry import Act
from clinical.prediction.request import Purpose
from clinical.review.decision import Verdict
from clinical.services.audit import AuditService
from clinical.services.ports import OpenUnitOfWork
from clinical.services.prediction import PredictionService
from clinical.services.replay import ReplayService
from clinical.services.review import ReviewService
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Phase
from clinical.timeline.patient import PatientRef
from pipelines.evaluation import audit_report
from pipelines.evaluation.auditing import Auditor, Choices, note_audit, run_audit
from pipelines.evaluation.findings import Findings
from pipelines.evaluation.intake_findings import intake_findings
from tests.clinical.builders import event, hours
from tests.conftest import _execute, _sibling
from tests.fakes import FakeModelServer, SeededIdentities, SettableClock

DAY = 24
ASKED_ON_DAY = 10
NUM_PATIENTS = 60
INPATIENT = Code(CodeSystem.ACT, "IMP")


def patient(number: int) -> PatientRef:
    return PatientRef("north", f"record-{number:03}")


def story(number: int) -> list[Event]:
    """Ten days of glucose, a later visit far away; every second patient is admitted in between."""
    ref = patient(number)
    events = [event(f"{number}-o{day}", at=day * DAY, value=str(90 + day)) for day in range(10)]
    events.append(event(f"{number}-last", at=200 * DAY, value="100"))
    if number % 2:
        admitted = event(f"{number}-e", at=(12 + number % 7) * DAY, code=INPATIENT)
        events.append(replace(admitted, kind=EventKind.ENCOUNTER, phase=Phase.START))
    return [replace(each, patient_id=ref.patient_id, received_at=hours(0)) for each in events]


@dataclass
class Stage:
    """A site that was filled, and what is needed to audit it."""

    engine: Engine
    open_unit_of_work: OpenUnitOfWork
    clock: SettableClock
    models: FakeModelServer
    auditor: Auditor
    predictions: PredictionService
    reviews: ReviewService

    def act(self, actor: str = "anna") -> Act:
        return Act(actor=actor, at=self.clock.advance(timedelta(seconds=60)))

    def audit(self, sample: int = 20, **choices: Any) -> tuple[Findings, str]:
        """Audit as the command does; the findings and the page."""
        findings = run_audit(
            self.auditor, Choices(sample=sample, resamples=100, **choices), lambda _: None
        )
        page = audit_report.render(findings)
        note_audit(self.auditor, findings, audit_report.digest(page), self.act("audit"))
        return findings, page

    def as_superuser(self, *statements: str, **values: object) -> None:
        """What somebody with the keys of the database may do: no trigger fires, no key is checked."""
        with self.engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in statements:
                connection.execute(text(statement), values)


def staged(engine: Engine, clock: SettableClock, identities: SeededIdentities) -> Stage:
    """The services of a site over one database."""
    models = FakeModelServer()
    open_unit_of_work = unit_of_work_factory(engine)
    common: dict[str, Any] = {"open_unit_of_work": open_unit_of_work, "clock": clock}
    auditor = Auditor(
        **common,
        identities=identities,
        log=AuditService(**common),
        replays=ReplayService(open_unit_of_work=open_unit_of_work, models=models, planner=models),
        intake=lambda: intake_findings(engine),
    )
    return Stage(
        engine=engine,
        open_unit_of_work=open_unit_of_work,
        clock=clock,
        models=models,
        auditor=auditor,
        predictions=PredictionService(**common, identities=identities, models=models),
        reviews=ReviewService(**common, identities=identities),
    )


@pytest.fixture
def empty_stage(engine: Engine, frozen_clock: SettableClock, identities: SeededIdentities) -> Stage:
    """A site that nothing has come to yet."""
    return staged(engine, frozen_clock, identities)


@pytest.fixture(scope="session")
def filled_database(database_server: str, database_template: str) -> Iterator[tuple[str, datetime]]:
    """A filled site to copy, and when the last thing happened in it: filling takes seconds."""
    name, clock = f"clinical_filled_{secrets.token_hex(4)}", SettableClock()
    _execute(database_server, f'CREATE DATABASE "{name}" TEMPLATE "{database_template}"')
    engine = create_engine(_sibling(database_server, name))
    _fill(staged(engine, clock, SeededIdentities()))
    engine.dispose()
    yield name, clock.moment
    _execute(database_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def stage(database_server: str, filled_database: tuple[str, datetime]) -> Iterator[Stage]:
    """Sixty patients, each asked about in the past, some also now; those reviews are signed."""
    template, moment = filled_database
    name = f"clinical_audit_{secrets.token_hex(4)}"
    _execute(database_server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    engine = create_engine(_sibling(database_server, name))
    yield staged(engine, SettableClock(moment), SeededIdentities(1))
    engine.dispose()
    _execute(database_server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _fill(stage: Stage) -> None:
    predictions = stage.predictions
    for number in range(NUM_PATIENTS):
        ref = patient(number)
        with stage.open_unit_of_work() as uow:
            uow.timelines.add(story(number), {ref.patient_id: ref})
            uow.commit()
        predictions.make(
            ref.patient_id,
            stage.act("worker"),
            purpose=Purpose.RETROSPECTIVE,
            as_of=hours(ASKED_ON_DAY * DAY),
        )
    _review_some(stage)
    stage.auditor.log.sequence()


def _review_some(stage: Stage) -> None:
    for number in range(25):
        stage.predictions.make(patient(number).patient_id, stage.act("worker"))
        with stage.open_unit_of_work() as uow:
            (review,) = uow.reviews.open_for(patient(number).patient_id)
        review = stage.reviews.claim(review.review_id, stage.act(), expected_version=1)
        verdict = Verdict.DISAGREE if number < 5 else Verdict.AGREE
        stage.reviews.sign(
            review.review_id, stage.act(), expected_version=review.version, verdict=verdict
        )
