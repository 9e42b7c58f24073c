"""The model process down or too busy: work waits, and is done when it comes back."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.embedded import EmbeddedPostgres
from adapters.db.engine import create_engine
from adapters.db.migrate import upgrade
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.model_server.client import HttpModelServer
from adapters.model_server.worker import is_ready
from clinical.audit.entry import Act
from clinical.errors import OperationalError
from clinical.services.delivery import Delivery, Door
from clinical.services.intake import Intake
from clinical.services.messages import Buried
from clinical.services.ports import OpenUnitOfWork
from tests.adapters.model_server.builders import question
from tests.journeys.bundles import bundle, observation, patient
from tests.stack import Started, free_ports, wait_until

pytestmark = pytest.mark.integration


class Ward:
    """A database with work owed in it, and settings for processes that share it."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self.settings = {
            "CLINICAL_DATABASE_URL": database_url,
            "CLINICAL_MODEL_PORT": str(self.port),
        }
        self.engine = create_engine(database_url)
        self.open_unit_of_work: OpenUnitOfWork = unit_of_work_factory(self.engine)

    def receive_patients(self, count: int, prefix: str) -> None:
        """Deliver so many small patients, as an import does."""
        clock, identities = SystemClock(), TimeOrderedIdentities()
        intake = Intake(
            open_unit_of_work=self.open_unit_of_work, clock=clock, identities=identities, readers={}
        )
        for number in range(count):
            record_id = f"{prefix}-{number}"
            delivery = Delivery(
                delivery_id=identities.new(),
                site="ward",
                door=Door.FHIR_BULK,
                sender_id=record_id,
                body=bundle(patient(record_id), observation(record_id, record_id)),
                content_type="application/fhir+json",
                received_at=clock.now(),
            )
            intake.receive(delivery, Act(actor="test", at=clock.now()))

    def num_waiting(self) -> int:
        with self.open_unit_of_work() as uow:
            return uow.outbox.pending()

    def predicted(self) -> set[UUID]:
        """Patients with a prediction; there is never more than one each here."""
        with self.open_unit_of_work() as uow:
            found = [each.request.patient_id for each in uow.predictions.all()]
        assert len(found) == len(set(found))
        return set(found)

    def num_patients(self) -> int:
        with self.open_unit_of_work() as uow:
            return len(list(uow.timelines.patient_ids()))

    def buried(self) -> list[Buried]:
        """What the broker would not deliver any more."""
        with self.open_unit_of_work() as uow:
            return uow.dead_letters.buried(100)

    def start(self, *arguments: str, **settings: str) -> Started:
        return Started(list(arguments), self.folder, {**self.settings, **settings})


def said(started: Started, field: str, value: str) -> int:
    """How many lines of a process's log carry this field."""
    lines = [line for line in started.text().splitlines() if line.startswith("{")]
    return sum(json.loads(line).get(field) == value for line in lines)


@contextmanager
def crowd_at(url: str) -> Iterator[None]:
    """Others who ask the model long questions without a pause, so that its queue stays full."""
    request, timeline = question(num_events=2_000)
    is_over = threading.Event()

    def ask() -> None:
        with closing(HttpModelServer(url, timeout_seconds=60)) as model:
            while not is_over.is_set():
                with suppress(OperationalError):
                    model.forecast(request, timeline)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            yield
        finally:
            is_over.set()
    for each in asking:
        each.result()


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        upgrade(server.url)
        ward = Ward(tmp_path, server.url)
        yield ward
        ward.engine.dispose()


def test_while_the_model_is_down_work_waits_and_is_done_when_it_is_back(ward: Ward) -> None:
    ward.receive_patients(3, "down")
    with ward.start("worker") as worker:
        wait_until(lambda: said(worker, "error_code", "model.unavailable") >= 6)
        assert ward.num_patients() == 3
        assert ward.num_waiting() == 3
        with ward.start("model") as model:
            wait_until(lambda: not ward.num_waiting())
            assert len(ward.predicted()) == 3
            assert said(worker, "event", "message given_up") == 0
            assert model.stop() == 0
        assert worker.stop() == 0
        assert worker.wait_until_none_is_alive(seconds=5) == []


def test_a_full_queue_refuses_and_the_refused_work_is_done_later(ward: Ward) -> None:
    ward.receive_patients(24, "busy")
    narrow = {"CLINICAL_MODEL_QUEUE_CAPACITY": "1", "CLINICAL_MODEL_MAX_BATCH": "1"}
    with ward.start("model", **narrow) as model:
        wait_until(lambda: is_ready(f"http://127.0.0.1:{ward.port}"))
        with ward.start("worker", "--concurrency", "2") as worker:
            with crowd_at(f"http://127.0.0.1:{ward.port}"):
                wait_until(lambda: said(worker, "error_code", "model.busy") > 0)
            wait_until(lambda: not ward.num_waiting() and ward.num_patients() == 24)
            assert len(ward.predicted()) == 24
            assert said(worker, "event", "message given_up") == 0
            assert worker.stop() == 0
        assert model.stop() == 0


def test_a_killed_worker_loses_nothing_though_the_folder_forgets(ward: Ward) -> None:
    ward.receive_patients(12, "killed")
    short = {"CLINICAL_LEASE_SECONDS": "3"}
    with ward.start("model") as model:
        wait_until(lambda: is_ready(f"http://127.0.0.1:{ward.port}"))
        with ward.start("worker", **short) as first:
            wait_until(lambda: ward.num_patients() >= 3)
            for process in first.alive():
                process.kill()
            first.process.wait()
        with ward.start("worker", **short) as second:
            wait_until(lambda: not ward.num_waiting())
            assert len(ward.predicted()) == 12
            assert second.stop() == 0
        assert model.stop() == 0


def test_leases_are_the_only_memory_of_what_a_killed_worker_was_doing(ward: Ward) -> None:
    """The claim of a message ends by itself; no process has to notice that another died."""
    ward.receive_patients(1, "lease")
    with ward.open_unit_of_work() as uow:
        (message,) = uow.outbox.claim(10, timedelta(seconds=1))
        uow.commit()
    with ward.open_unit_of_work() as uow:
        assert uow.outbox.claim(10, timedelta(seconds=1)) == []
    time.sleep(1.1)
    with ward.open_unit_of_work() as uow:
        assert uow.outbox.claim(10, timedelta(seconds=60)) == [message]
