"""`clinical bench parse`: from bytes to events in the bulk lane, against validation alone.

Both on one core, on the same files, in the same process, by turns. Nothing is stored.
"""

import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.fhir.reader import BulkReader
from clinical.services.delivery import Delivery, Door
from pipelines.evaluation.bench_sample import (
    bundles,
    on_one_core,
    resources,
    seconds_of,
    validate_each,
    validate_whole,
)
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured
from pipelines.evaluation.timing import middle

COMMAND = "clinical bench parse"
GOAL = 15.0


def run(
    path: Path | None, *, num_bundles: int, repetitions: int, say: Callable[[str], None]
) -> list[BenchmarkRow]:
    """Measure; the rows `import.parse_ratio` and `import.parse_ratio_by_file`."""
    bodies = bundles(path, num_bundles)
    wanted = resources(bodies)
    parsing, validating, whole = [], [], []
    with on_one_core():
        _parse(bodies)  # units and classes met for the first time are loaded
        validate_each(wanted)
        for number in range(repetitions):
            say(f"Repetition {number + 1} of {repetitions} over {len(wanted):,} resources …")
            parsing.append(_parse(bodies))
            validating.append(seconds_of(lambda: validate_each(wanted), time.process_time))
            whole.append(seconds_of(lambda: validate_whole(bodies), time.process_time))
    rates = {
        "parsed to events, resources/s": len(wanted) / middle(parsing)[0],
        "fhir.resources by file, resources/s": len(wanted) / middle(whole)[0],
        "fhir.resources by resource, resources/s": len(wanted) / middle(validating)[0],
    }
    how = (
        f"processor time on one core, warm, by turns, median and range of {repetitions} "
        f"repetitions over {len(bodies)} Bundles."
    )
    return [
        _row(
            "import.parse_ratio",
            GOAL,
            _ratios(validating, parsing),
            rates,
            len(wanted),
            "Over the faster way to use fhir.resources: each resource cut out beforehand and "
            f"validated by itself, cutting not counted; {how} Tried: kinds that carry no event are "
            "skipped before they are decoded, codes and units are remembered, nothing is decoded "
            "twice; what remains is spread thin over building the events.",
        ),
        _row(
            "import.parse_ratio_by_file",
            None,
            _ratios(whole, parsing),
            rates,
            len(wanted),
            f"Over validating the same files, a Bundle each, whole with fhir.resources; {how} Added "
            "after the row above had missed its goal, so it carries none.",
        ),
    ]


def _ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(slow, fast, strict=True)]


def _row(
    row_id: str,
    goal: float | None,
    ratios: list[float],
    rates: dict[str, float],
    num_resources: int,
    note: str,
) -> BenchmarkRow:
    ratio, seen = middle(ratios)
    return measured(
        clock=SystemClock(),
        id=row_id,
        value=ratio,
        unit="×",
        better=Better.HIGHER,
        goal=goal,
        interval=seen,
        baselines=rates,
        n=num_resources,
        command=COMMAND,
        note=note,
    )


def _parse(bodies: Sequence[bytes]) -> float:
    clock, identities, reader = SystemClock(), TimeOrderedIdentities(), BulkReader()
    deliveries = [
        Delivery(
            delivery_id=identities.new(),
            site="bench",
            door=Door.FHIR_BULK,
            sender_id=sha256(body).hexdigest(),
            body=body,
            content_type="application/fhir+json",
            received_at=clock.now(),
        )
        for body in bodies
    ]

    def read() -> None:
        for delivery in deliveries:
            reader.read(delivery)

    return seconds_of(read, time.process_time)
