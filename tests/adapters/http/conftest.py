"""The web face on a real PostgreSQL, with a staged model, patients and clinicians."""

import base64
import itertools
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from adapters.care_plans.reader import read_library
from adapters.clock import TimeOrderedIdentities
from adapters.db.clinicians import Clinicians
from adapters.db.operating import Operating
from adapters.db.summaries import Summaries
from adapters.db.tokens import AccessTokens
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.fhir.audit_events import Service
from adapters.fhir.exposed import ExposedShapes
from adapters.http.app import create_app
from adapters.http.dependencies import Limits, WebDependencies
from adapters.http.searches import parameters_of
from adapters.http.sessions import COOKIE, REQUEST_HEADER, token_for
from adapters.http.signatures import StandardWebhooks
from adapters.nabla.connect import CALLBACK_TYPES, parse_callback
from adapters.nabla.signature import SignatureCheck
from adapters.notary import Ed25519Notary, is_signature
from clinical.audit.checkpoint import SignatureKind
from clinical.audit.entry import Act
from clinical.review.review import Review, ReviewState
from clinical.services.access import AccessService
from clinical.services.audit import AuditService
from clinical.services.disclosure import DisclosureService
from clinical.services.intake import Intake
from clinical.services.ledger import LedgerService
from clinical.services.planning import PlanningService
from clinical.services.ports import OpenUnitOfWork, WorklistQuery
from clinical.services.prediction import PredictionService
from clinical.services.recall import RecallService
from clinical.services.review import ReviewService
from clinical.services.shedding import LoadLimits, SheddingService
from clinical.services.similar import SimilarService
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind
from clinical.timeline.patient import PatientRef
from clinical.timeline.time import ClinicalTime
from tests.adapters.http.stage import StagedModel
from tests.clinical.builders import event

WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"the secret of the site north....").decode()
NABLA_SECRET = "the nabla secret of the site north"
PASSWORD = "correct horse battery"
NOW = datetime(2024, 6, 15, 12, tzinfo=UTC)
MAX_BYTES = 64 * 1024
LOG_NOTARY = Ed25519Notary.of("north.example/log", SignatureKind.LOG, b"l" * 32)
WITNESS_NOTARY = Ed25519Notary.of("witness.example/w1", SignatureKind.WITNESS, b"w" * 32)


@dataclass
class StageClock:
    """A clock that moves when told to."""

    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment

    def advance(self, by: timedelta) -> None:
        self.moment += by


@dataclass(frozen=True)
class Person:
    name: str
    display_name: str
    role: str = "clinician"


@dataclass
class Stage:
    """Everything that a test of the web face holds in its hands."""

    engine: Engine
    deps: WebDependencies
    clock: StageClock
    model: StagedModel
    app: FastAPI
    client: httpx.Client

    def sign_in(self, name: str = "anna") -> None:
        """Be somebody, without the cost of a password check."""
        person = Person(name, f"Dr {name.title()}")
        token = token_for(person, self.clock.now(), self.deps)
        self.client.cookies.set(COOKIE, token)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def write(
        self, path: str, *, version: int | None = None, body: Any = None, **headers: str
    ) -> httpx.Response:
        """A POST as the page sends it."""
        sent = {REQUEST_HEADER: "test", **headers}
        if version is not None:
            sent["If-Match"] = f'"v{version}"'
        return self.client.post(path, json=body, headers=sent)

    def act(self, actor: str = "test") -> Act:
        return Act(actor=actor, at=self.clock.now())

    def add_patient(self, record_id: str, *, num_events: int = 6, **changes: Any) -> UUID:
        """A patient with as many observations, and a review of their prediction; its id."""
        patient = PatientRef("north", record_id)
        observed = [
            self.event_of(patient, f"{record_id}-o{i}", at=24.0 * i, value=str(90 + i), **changes)
            for i in range(num_events)
        ]
        birth = self.event_of(
            patient,
            record_id,
            kind=EventKind.PATIENT,
            code=Code(CodeSystem.GENDER, "male"),
            occurred_at=ClinicalTime.day(1946, 2, 3),
        )
        self.record(patient, [birth, *observed])
        return self.predict(patient)

    def event_of(self, patient: PatientRef, record_id: str, **changes: Any) -> Event:
        made = event(record_id, received=0, **changes)
        return replace(made, patient_id=patient.patient_id)

    def record(self, patient: PatientRef, events: list[Event]) -> None:
        with self.deps.open_unit_of_work() as uow:
            uow.timelines.add(events, {patient.patient_id: patient})
            uow.commit()

    def predict(self, patient: PatientRef) -> UUID:
        """Ask the staged model; the id of the review that this opens."""
        service = PredictionService(
            open_unit_of_work=self.deps.open_unit_of_work,
            clock=self.clock,
            identities=self.deps.identities,
            models=self.model,
        )
        service.make(patient.patient_id, self.act("worker"))
        with self.deps.open_unit_of_work() as uow:
            (review,) = uow.reviews.open_for(patient.patient_id)
        return review.review_id

    def review(self, review_id: UUID) -> Review:
        with self.deps.open_unit_of_work() as uow:
            return uow.reviews.get(review_id)

    def sequence_audit(self) -> None:
        AuditService(open_unit_of_work=self.deps.open_unit_of_work, clock=self.clock).sequence()

    def publish_audit(self) -> None:
        """Give every entry its leaf and sign the head, as the relay does."""
        self.sequence_audit()
        self.deps.ledger.publish()

    def num_queued(self) -> int:
        with self.deps.open_unit_of_work() as uow:
            return uow.reviews.count(WorklistQuery(states=frozenset({ReviewState.QUEUED})))


def shedding(open_unit_of_work: OpenUnitOfWork, max_backlog: int = 100_000) -> SheddingService:
    """Measures at every request."""
    seconds = itertools.count()
    return SheddingService(
        open_unit_of_work=open_unit_of_work,
        limits=LoadLimits(
            max_backlog=max_backlog, max_lateness=timedelta(days=1), min_free_bytes=0
        ),
        elapsed=lambda: float(next(seconds)),
        free_bytes=lambda: None,
    )


def dependencies(engine: Engine, clock: Any, model: StagedModel, **changes: Any) -> WebDependencies:
    """What the web process is given, over a real database."""
    identities = TimeOrderedIdentities()
    open_unit_of_work = unit_of_work_factory(engine)
    summaries = Summaries(engine)
    given: dict[str, Any] = {
        "open_unit_of_work": open_unit_of_work,
        "intake": Intake(
            open_unit_of_work=open_unit_of_work, clock=clock, identities=identities, readers={}
        ),
        "reviews": ReviewService(
            open_unit_of_work=open_unit_of_work, clock=clock, identities=identities
        ),
        "recalls": RecallService(
            open_unit_of_work=open_unit_of_work, clock=clock, identities=identities
        ),
        "similar": SimilarService(open_unit_of_work=open_unit_of_work),
        "planning": PlanningService(
            open_unit_of_work=open_unit_of_work,
            clock=clock,
            identities=identities,
            models=model,
            library=read_library(),
        ),
        "access": AccessService(open_unit_of_work=open_unit_of_work, identities=identities),
        "audit": AuditService(open_unit_of_work=open_unit_of_work, clock=clock),
        "ledger": LedgerService(
            open_unit_of_work=open_unit_of_work,
            clock=clock,
            notary=LOG_NOTARY,
            check=is_signature,
            witnesses=(WITNESS_NOTARY.key,),
        ),
        "shedding": shedding(open_unit_of_work),
        "clock": clock,
        "identities": identities,
        "clinicians": Clinicians(engine),
        "bearer": AccessTokens(engine, identities).bearer,
        "disclosures": DisclosureService(
            open_unit_of_work=open_unit_of_work, identities=identities
        ),
        "shapes": ExposedShapes(
            service=Service(name="clinical.test/ledger", url="http://clinical.test"),
            version="1.0",
            since=NOW,
            parameters_of=parameters_of,
        ),
        "session_key": b"a key for tests, thirty-two bytes",
        "fhir_verifiers": {"north": StandardWebhooks([WEBHOOK_SECRET])},
        "nabla_verifiers": {"north": SignatureCheck([NABLA_SECRET], clock)},
        "parse_callback": parse_callback,
        "callback_types": CALLBACK_TYPES,
        "static_facts": summaries.static_facts,
        "census": summaries.backlog,
        "model_fingerprint": model.fingerprint,
        "operating": Operating(engine),
        "free_disk": lambda: 1 << 40,
        "limits": Limits(max_webhook_bytes=MAX_BYTES),
    }
    return WebDependencies(**(given | changes))


@contextmanager
def served(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of the app on a real server of its own."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()  # so that a client that is faster than the server waits
        config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False)
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=address, trust_env=False, timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(10)
    assert not thread.is_alive()


def free_port() -> int:
    """A port that nobody listens on, below those that outgoing connections take."""
    source = random.Random()
    while True:
        port = source.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


@pytest.fixture
def stage(engine: Engine) -> Iterator[Stage]:
    clock, model = StageClock(), StagedModel()
    deps = dependencies(engine, clock, model)
    app = create_app(deps)
    with served(app) as client:
        yield Stage(engine=engine, deps=deps, clock=clock, model=model, app=app, client=client)
