"""How long an entry waits for its leaf under a signed head, at a steady rate, with a real relay beside it."""

import logging
import multiprocessing
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine, func, select

from adapters import telemetry
from adapters.assembly.measuring import Place
from adapters.assembly.worker import Broker, Parts
from adapters.db.tables import audit_leaves, audit_signatures
from clinical.audit.entry import Act, AuditKind
from pipelines.worker import create_app, relay

_LOOK_SECONDS = 0.01
_NUM_WRITERS = 4


def delays(
    place: Place,
    engine: Engine,
    folder: Path,
    *,
    per_second: float,
    seconds: float,
) -> list[float]:
    """Seconds from an entry's commit until a signed head covers it, for each entry written."""
    parts = place.open_parts(engine)
    with _relay_beside(place, folder), _heads(engine) as heads:
        # Once the relay is at work, and not while it loads its program.
        _write(parts, per_second=1, seconds=1)
        _wait_until_covered(parts)
        written = _write(parts, per_second, seconds)
        _wait_until_covered(parts)
        time.sleep(2 * _LOOK_SECONDS)
    sizes = [size for size, _ in heads]
    places = _places(engine, list(written))
    return [
        max(0.0, heads[bisect_right(sizes, places[entry_id])][1] - at)
        for entry_id, at in written.items()
    ]


def _write(parts: Parts, per_second: float, seconds: float) -> dict[UUID, float]:
    """Entries at even intervals, whoever is free; when each was committed."""
    written: dict[UUID, float] = {}
    began = time.perf_counter()
    numbers = iter(range(int(per_second * seconds)))
    lock = threading.Lock()

    def write() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            time.sleep(max(0.0, began + number / per_second - time.perf_counter()))
            act = Act(actor="bench", at=parts.clock.now())
            entry = act.entry(parts.identities.new(), AuditKind.AUDIT_RUN)
            with parts.open_unit_of_work() as uow:
                uow.audit_log.append(entry)
                uow.commit()
            written[entry.entry_id] = time.perf_counter()

    writers = [threading.Thread(target=write) for _ in range(_NUM_WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return written


def _wait_until_covered(parts: Parts) -> None:
    while True:
        with parts.open_unit_of_work() as uow:
            signed = uow.audit_log.signed(parts.ledger.notary.key.name)
            if not uow.audit_log.unsequenced() and signed == uow.audit_log.head():
                return
        time.sleep(_LOOK_SECONDS)


@contextmanager
def _heads(engine: Engine) -> Iterator[list[tuple[int, float]]]:
    """The sizes of signed heads and when each was first seen, while the block runs."""
    seen: list[tuple[int, float]] = []
    is_over = threading.Event()

    def look() -> None:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not is_over.wait(_LOOK_SECONDS):
                size = connection.scalar(select(func.max(audit_signatures.c.size))) or 0
                if size > (seen[-1][0] if seen else 0):
                    seen.append((size, time.perf_counter()))

    thread = threading.Thread(target=look)
    thread.start()
    yield seen
    is_over.set()
    thread.join()


def _places(engine: Engine, entry_ids: list[UUID]) -> dict[UUID, int]:
    with engine.connect() as connection:
        rows = connection.execute(
            select(audit_leaves.c.entry_id, audit_leaves.c.leaf_index).where(
                audit_leaves.c.entry_id.in_(entry_ids)
            )
        )
        return {row.entry_id: row.leaf_index for row in rows}


@contextmanager
def _relay_beside(place: Place, folder: Path) -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_relay, args=(place, folder), daemon=True)
    process.start()
    yield
    process.terminate()
    process.join(60)


def _relay(place: Place, folder: Path) -> None:
    telemetry.configure("bench", level=logging.WARNING)
    parts = place.open_parts()
    app = create_app(Broker(url=None, folder=folder / "broker"), lambda: parts)
    relay(app, parts).run()
