"""The system under test: PostgreSQL, RabbitMQ, and our web, worker and model process, all the real ones.

The harness owns every process of it and is also what a supervisor would be: it starts again what it
killed. Knows commands and settings; nothing inside a process.
"""

import base64
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from adapters.clock import SystemClock
from adapters.db.clinicians import Clinicians
from adapters.db.engine import create_engine
from adapters.db.migrate import upgrade
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.model_server.worker import is_ready
from adapters.notary import Ed25519Notary
from clinical.audit.checkpoint import SignatureKind
from tests.chaos.postgres import Postgres
from tests.journeys.ehr import Ehr
from tests.rabbitmq import RabbitMq
from tests.sites import write_sites_file
from tests.stack import Started, free_ports, is_live, wait_until

ROOT = Path(__file__).parents[2]
SITE = "ward"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PASSWORD = "a-long-enough-password"
WITNESS = "chaos-witness"
CLINICIANS = ("dr-adams", "dr-baker")
LEASE_SECONDS = 4.0


class Stage:
    """One running site; `start` and `kill` name its processes: web, worker, model, worker-2."""

    def __init__(self, folder: Path, *, num_events: int = 10_000) -> None:
        """Nothing runs before it is opened; `num_events` is how many are sent again and again."""
        self.folder = folder
        self.num_events = num_events
        self.postgres = Postgres(folder / "postgres")
        self.broker = RabbitMq(folder / "rabbitmq")
        self.web_port, self.model_port = free_ports(2)
        self.ehr = Ehr()
        self.running: dict[str, Started] = {}
        self.clock = SystemClock()
        self.settings = {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "CLINICAL_DATABASE_URL": self.postgres.url(),
            "CLINICAL_BROKER_URL": self.broker.url,
            "CLINICAL_WEB_PORT": str(self.web_port),
            "CLINICAL_MODEL_PORT": str(self.model_port),
            "CLINICAL_SESSION_KEY": "k" * 40,
            "CLINICAL_WEBHOOK_SECRETS": json.dumps({SITE: [SECRET]}),
            "CLINICAL_LEASE_SECONDS": str(LEASE_SECONDS),
            "CLINICAL_WORKER_CONCURRENCY": "2",
            "CLINICAL_LEDGER_KEY": base64.b64encode(bytes(range(32))).decode(),
        }

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def model_url(self) -> str:
        return f"http://127.0.0.1:{self.model_port}"

    def open(self) -> None:
        """Start everything and wait until it works."""
        self.settings["CLINICAL_LEDGER_WITNESSES"] = json.dumps([self._witness_key()])
        self.ehr.__enter__()
        self.settings["CLINICAL_SITES_FILE"] = str(
            write_sites_file(self.folder, SITE, self.ehr.url)
        )
        self.start("model")
        self.postgres.start()
        upgrade(self.postgres.url())
        self.engine = create_engine(self.postgres.url(), pool_size=5)
        self.open_unit_of_work = unit_of_work_factory(self.engine)
        for name in CLINICIANS:
            Clinicians(self.engine).add(name, name.title(), PASSWORD, "clinician")
        self.start("web")
        self.broker.start()
        self.start("worker")
        wait_until(lambda: is_live(self.web_url) and is_ready(self.model_url), 120)
        # RabbitMQ 3.10 cannot recover a queue that is killed within seconds of its birth.
        time.sleep(8)

    def _witness_key(self) -> str:
        """The public key of the witness of the ledger; its secret goes where the witness looks."""
        secret = hashlib.sha256(b"witness").digest()
        (self.folder / "witness").mkdir(mode=0o700)
        (self.folder / "witness" / "key").write_text(base64.b64encode(secret).decode())
        return Ed25519Notary.of(WITNESS, SignatureKind.WITNESS, secret).key.to_text()

    def close(self) -> None:
        """Stop what was started, in the order in which a site stops."""
        for name in ("worker", "worker-2", "web", "model", *self.running):
            if name in self.running:
                self.stop(name)
        with suppress(AttributeError):
            self.engine.dispose()
        self.broker.stop()
        self.postgres.stop()
        self.ehr.__exit__()

    def start(self, name: str, *options: str, **changes: str) -> Started:
        """Start a process of ours; `changes` are environment variables of this one alone."""
        command = name.split("-", maxsplit=1)[0]
        settings = {**self.settings, **changes}
        self.running[name] = Started([command, *options], self.folder, settings)
        return self.running[name]

    def family(self, name: str) -> list[psutil.Process]:
        """The process and all that it forked, living."""
        parent = psutil.Process(self.running[name].process.pid)
        return [parent, *parent.children(recursive=True)]

    def pool(self, name: str = "worker") -> list[psutil.Process]:
        """The children of a worker that do its work."""
        return [
            child
            for child in psutil.Process(self.running[name].process.pid).children()
            if child.status() != psutil.STATUS_ZOMBIE
        ]

    def kill(self, name: str) -> None:
        """SIGKILL for it and all that it forked, at once."""
        victims = self.family(name)
        for each in victims:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self.running.pop(name).process.wait()
        psutil.wait_procs(victims[1:], timeout=10)

    def stop(self, name: str) -> int:
        """SIGTERM, as a supervisor would; its exit status."""
        started = self.running.pop(name)
        try:
            status = started.stop(signal.SIGTERM, seconds=30)
        finally:
            started.__exit__()
        return status

    def freeze(self, name: str) -> None:
        """SIGSTOP for it and all that it forked."""
        for each in self.family(name):
            each.suspend()

    def thaw(self, name: str) -> None:
        """SIGCONT for it and all that it forked."""
        for each in self.family(name):
            each.resume()

    def repair(self) -> None:
        """After a row that broke: everything that a site needs runs again, and nothing else."""
        for name in tuple(self.running):
            if self.running[name].process.poll() is not None:
                self.running.pop(name)
            else:
                self.thaw(name)
        if "worker-2" in self.running:
            self.kill("worker-2")
        assert self.postgres.process is not None
        if self.postgres.process.poll() is not None:
            self.postgres.start()
        if not self.broker.answers():
            with suppress(ProcessLookupError):
                self.broker.kill()
            self.broker.start()
        for name in ("model", "web", "worker"):
            if name not in self.running:
                self.start(name)

    def wait_for_web(self, seconds: float = 60) -> None:
        wait_until(lambda: is_live(self.web_url), seconds)

    def wait_for_model(self, seconds: float = 60) -> None:
        wait_until(lambda: is_ready(self.model_url), seconds)

    def command(self, *arguments: str, **changes: str) -> Started:
        """A command of ours, started and not waited for."""
        return Started(list(arguments), self.folder, {**self.settings, **changes})

    @contextmanager
    def second_worker(self, **changes: str) -> Iterator[Started]:
        """Another worker beside the first."""
        started = self.start("worker-2", **changes)
        try:
            yield started
        finally:
            if "worker-2" in self.running:
                self.stop("worker-2")

    @contextmanager
    def through(self, name: str, changes: Mapping[str, str]) -> Iterator[None]:
        """The process runs with other settings for a while."""
        self.stop(name)
        self.start(name, **changes)
        try:
            yield
        finally:
            self.kill(name)
            self.start(name)


def is_root() -> bool:
    return os.geteuid() == 0 and sys.platform == "linux"
