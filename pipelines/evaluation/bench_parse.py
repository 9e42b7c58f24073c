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
    validation_seconds,
    whole_bundles_seconds,
)
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured
from pipelines.evaluation.timing import middle

COMMAND = "clinical bench parse"
GOAL = 15.0


def run(
    path: Path | None, *, num_bundles: int, repetitions: int, say: Callable[[str], None]
) -> list[BenchmarkRow]:
    """Measure; the row `import.parse_ratio`."""
    bodies = bundles(path, num_bundles)
    wanted = resources(bodies)
    parsing, validating, whole = [], [], []
    with on_one_core():
        _parse(bodies[:2])
        validation_seconds(resources(bodies[:2]))
        for number in range(repetitions):
            say(f"Repetition {number + 1} of {repetitions} over {len(wanted):,} resources …")
            parsing.append(_parse(bodies))
            validating.append(validation_seconds(wanted))
            whole.append(whole_bundles_seconds(bodies))
    ratios = [slow / fast for slow, fast in zip(validating, parsing, strict=True)]
    ratio, seen = middle(ratios)
    return [
        measured(
            clock=SystemClock(),
            id="import.parse_ratio",
            value=ratio,
            unit="×",
            better=Better.HIGHER,
            goal=GOAL,
            interval=seen,
            baselines={
                "parsed to events, resources/s": len(wanted) / middle(parsing)[0],
                "fhir.resources by resource, resources/s": len(wanted) / middle(validating)[0],
                "fhir.resources by Bundle, resources/s": len(wanted) / middle(whole)[0],
            },
            n=len(wanted),
            command=COMMAND,
            note=(
                f"Bytes of {len(bodies)} Bundles to events, over validating each resource by itself "
                "with fhir.resources (its faster way); one core, by turns, median and range of "
                f"{repetitions} repetitions."
            ),
        )
    ]


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
    began = time.perf_counter()
    for delivery in deliveries:
        reader.read(delivery)
    return time.perf_counter() - began
