"""`clinical bench ledger`: what the audit log costs, how fast it is read, and how long an entry waits for its leaf.

In a temporary folder with the embedded PostgreSQL as it is shipped, durable. Whatever can be is a
ratio of two things measured by turns in one run.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.assembly.measuring import Place, fresh_place
from adapters.assembly.worker import Parts
from adapters.clock import SystemClock
from adapters.db.engine import create_engine
from clinical.audit.entry import Act, AuditKind
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured
from pipelines.evaluation.ledger import costs, delay, reading
from pipelines.evaluation.timing import quantile

COMMAND = "clinical bench ledger"
SEED = 0
_SHORT_LOG = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    num_rounds: int
    round_seconds: float
    num_leaves: int
    num_proofs: int
    entries_per_second: float
    delay_seconds: float


def run(size: Size, *, say: Callable[[str], None]) -> list[BenchmarkRow]:
    """Measure; the rows `ledger.commit_cost`, `.merge_delay_p99_ms`, `.proof_p99_ms`, `.proofs_per_s`, `.verify_entries_per_s`."""
    with (
        tempfile.TemporaryDirectory(prefix="clinical-bench-") as temporary,
        fresh_place(Path(temporary)) as place,
    ):
        return _rows(place, Path(temporary), size, say)


def _rows(place: Place, folder: Path, size: Size, say: Callable[[str], None]) -> list[BenchmarkRow]:
    found = costs.rounds(place, num_rounds=size.num_rounds, seconds=size.round_seconds, say=say)
    engine = create_engine(place.url)
    parts = place.open_parts(engine)
    try:
        say(f"Entries, {size.entries_per_second:.0f} a second …")
        waits = delay.delays(
            place,
            engine,
            folder,
            per_second=size.entries_per_second,
            seconds=size.delay_seconds,
        )
        _one_entry(parts)
        reading.lengthen(engine, parts, _SHORT_LOG)
        short = reading.proofs(engine, parts, count=size.num_proofs, seed=SEED)
        say(f"Sequencing up to {size.num_leaves:,} leaves …")
        leaves_per_second = reading.lengthen(engine, parts, size.num_leaves)
        long = reading.proofs(engine, parts, count=size.num_proofs, seed=SEED)
        say(f"Verifying {long.num_leaves:,} entries …")
        verified = reading.verified(parts, folder)
    finally:
        engine.dispose()
    return [
        _cost_row(found, size),
        _delay_row(waits, size),
        *_proof_rows(short, long),
        _verify_row(verified, leaves_per_second),
    ]


def _one_entry(parts: Parts) -> None:
    act = Act(actor="bench", at=parts.clock.now())
    with parts.open_unit_of_work() as uow:
        uow.audit_log.append(act.entry(parts.identities.new(), AuditKind.AUDIT_RUN))
        uow.commit()


def _cost_row(found: list[costs.Round], size: Size) -> BenchmarkRow:
    value, interval = quantile([each.cost for each in found], 0.5, seed=SEED)
    with_ledger, _ = quantile([each.with_ledger for each in found], 0.5, seed=SEED)
    without, _ = quantile([each.without for each in found], 0.5, seed=SEED)
    return measured(
        clock=SystemClock(),
        id="ledger.commit_cost",
        value=value,
        unit="of the throughput",
        better=Better.LOWER,
        goal=0.15,
        interval=interval,
        n=len(found),
        seeds=(SEED,),
        command=COMMAND,
        baselines={"commits/s with the ledger": with_ledger, "without": without},
        note=(
            f"Deliveries received and owed by {costs.NUM_CONNECTIONS} connections at once, with audit "
            "entries, triggers and a sequencer beside them, against the same without any of it: rounds "
            f"of {size.round_seconds:.0f} s by turns, median of the ratios, interval by bootstrap."
        ),
    )


def _delay_row(waits: list[float], size: Size) -> BenchmarkRow:
    milliseconds = [1000 * each for each in waits]
    value, interval = quantile(milliseconds, 0.99, seed=SEED)
    middle, _ = quantile(milliseconds, 0.5, seed=SEED)
    return measured(
        clock=SystemClock(),
        id="ledger.merge_delay_p99_ms",
        value=value,
        unit="ms",
        better=Better.LOWER,
        goal=2_000.0,
        interval=interval,
        n=len(milliseconds),
        seeds=(SEED,),
        command=COMMAND,
        baselines={"p50, ms": middle, "largest, ms": max(milliseconds)},
        note=(
            f"From the commit of an entry until a signed head covers it, {size.entries_per_second:.0f} "
            f"entries a second for {size.delay_seconds:.0f} s, the relay in a process beside it."
        ),
    )


def _proof_rows(short: reading.Proofs, long: reading.Proofs) -> list[BenchmarkRow]:
    note = (
        f"Proofs of entries drawn from {long.num_leaves:,} leaves, one after the other on one "
        f"connection; beside it the same from {short.num_leaves:,} leaves."
    )
    shared: dict[str, Any] = {
        "clock": SystemClock(),
        "n": len(long.seconds),
        "seeds": (SEED,),
        "command": COMMAND,
        "note": note,
    }
    _, interval = quantile([1000 * each for each in long.seconds], 0.99, seed=SEED)
    return [
        measured(
            **shared,
            id="ledger.proof_p99_ms",
            value=long.p99_ms,
            unit="ms",
            better=Better.LOWER,
            goal=25.0,
            interval=interval,
            baselines={"from the short log, ms": short.p99_ms},
        ),
        measured(
            **shared,
            id="ledger.proofs_per_s",
            value=long.per_second,
            unit="proofs/s",
            better=Better.HIGHER,
            baselines={"from the short log": short.per_second},
        ),
    ]


def _verify_row(verified: reading.Verified, leaves_per_second: float) -> BenchmarkRow:
    return measured(
        clock=SystemClock(),
        id="ledger.verify_entries_per_s",
        value=verified.by_service,
        unit="entries/s",
        better=Better.HIGHER,
        goal=50_000.0,
        n=verified.num_entries,
        command=COMMAND,
        baselines={
            "verify_ledger.py export": verified.by_file,
            "written as an export": verified.exported,
            "only read": verified.read_alone,
            "given their leaves": leaves_per_second,
        },
        note=(
            "Every entry hashed again and every head recomputed, in one process; beside it, entries a "
            "second of the file that others verify an export with, of the export, and of reading alone."
        ),
    )
