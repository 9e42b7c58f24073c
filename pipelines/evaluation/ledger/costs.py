"""What the ledger costs: deliveries received with it, against the same without it, by turns.

Two databases on one server that differ in their triggers, and a unit of work that keeps no entries:
whatever an entry brings with it is in the one and not in the other. Knows no detail of the log.
"""

import itertools
import json
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Event
from typing import Any, Self

import psycopg
from sqlalchemy import Engine, make_url, text
from typing_extensions import override

from adapters.assembly.measuring import Place
from adapters.assembly.worker import Parts
from adapters.db.engine import create_engine
from adapters.db.tables import metadata
from adapters.db.unit_of_work import SqlUnitOfWork, unit_of_work_factory
from clinical.audit.entry import Act, AuditEntry
from clinical.services.delivery import Delivery, Door
from clinical.services.intake import Intake

NUM_CONNECTIONS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Deliveries received a second, with the ledger and without, one after the other."""

    with_ledger: float
    without: float

    @property
    def cost(self) -> float:
        """The share of the throughput that the ledger takes."""
        return 1 - self.with_ledger / self.without


class _NoLog:
    """Keeps nothing."""

    def append(self, entry: AuditEntry) -> None: ...


class _Unaudited(SqlUnitOfWork):
    @override
    def __enter__(self) -> Self:
        super().__enter__()
        log: Any = _NoLog()
        self.audit_log = log
        return self


def rounds(
    place: Place, *, num_rounds: int, seconds: float, say: Callable[[str], None]
) -> list[Round]:
    """Measure by turns, the order changing, on this database and a copy of it without triggers."""
    found = []
    with (
        _copy_without_triggers(place.url) as other,
        _engine(place.url) as ours,
        _engine(other) as theirs,
    ):
        parts = place.open_parts(ours)
        audited = replace(parts.intake, open_unit_of_work=unit_of_work_factory(ours))
        bare = replace(parts.intake, open_unit_of_work=lambda: _Unaudited(theirs))
        _received_per_second(parts, audited, seconds / 2)
        _received_per_second(parts, bare, seconds / 2)
        with _sequencer(place) as runs:
            for number in range(num_rounds):
                say(f"Commits, round {number + 1} of {num_rounds} …")
                rates = {}
                for intake in (audited, bare) if number % 2 else (bare, audited):
                    runs.set() if intake is audited else runs.clear()
                    rates[intake is audited] = _received_per_second(parts, intake, seconds)
                found.append(Round(with_ledger=rates[True], without=rates[False]))
    return found


def middle_cost(found: list[Round]) -> float:
    """The median over rounds."""
    return statistics.median(each.cost for each in found)


def _received_per_second(parts: Parts, intake: Intake, seconds: float) -> float:
    """With so many connections at once, each of a thread that waits for nothing else."""
    ends_at = time.perf_counter() + seconds
    counts = [0] * NUM_CONNECTIONS
    numbers = itertools.count()

    def receive(lane: int) -> None:
        while time.perf_counter() < ends_at:
            intake.receive(_delivery(parts, next(numbers)), _act(parts))
            counts[lane] += 1

    lanes = [threading.Thread(target=receive, args=(n,)) for n in range(NUM_CONNECTIONS)]
    began = time.perf_counter()
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    return sum(counts) / (time.perf_counter() - began)


def _delivery(parts: Parts, number: int) -> Delivery:
    identity = parts.identities.new()
    body = {
        "resourceType": "Observation",
        "id": str(identity),
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": f"Patient/{number % 500}"},
        "valueQuantity": {"value": 60 + number % 60, "unit": "/min"},
    }
    return Delivery(
        delivery_id=identity,
        site="bench",
        door=Door.FHIR,
        sender_id=str(identity),
        body=json.dumps(body).encode(),
        content_type="application/fhir+json",
        received_at=parts.clock.now(),
    )


def _act(parts: Parts) -> Act:
    return Act(actor="site:bench", at=parts.clock.now(), request_id=str(parts.identities.new()))


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url, pool_size=NUM_CONNECTIONS, max_overflow=0)
    yield engine
    engine.dispose()


@contextmanager
def _copy_without_triggers(url: str) -> Iterator[str]:
    target = make_url(url)
    copy = target.set(database=f"{target.database}_bare")
    place = target.set(drivername="postgresql", database="postgres")
    with psycopg.connect(place.render_as_string(hide_password=False), autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{copy.database}" TEMPLATE "{target.database}"'.encode())
    text_of_copy = copy.render_as_string(hide_password=False)
    with _engine(text_of_copy) as engine, engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(text(f'ALTER TABLE "{table.name}" DISABLE TRIGGER USER'))
    yield text_of_copy


@contextmanager
def _sequencer(place: Place) -> Iterator[Event]:
    """Another process that gives entries their leaves each second while the event is set, as the relay does."""
    context = multiprocessing.get_context("spawn")
    runs, is_over = context.Event(), context.Event()
    process = context.Process(target=_sequence, args=(place, runs, is_over), daemon=True)
    process.start()
    yield runs
    is_over.set()
    process.join(60)


def _sequence(place: Place, runs: Event, is_over: Event) -> None:
    parts = place.open_parts()
    while not is_over.wait(1.0):
        if runs.is_set():
            parts.audit.sequence()
            parts.ledger.publish()
