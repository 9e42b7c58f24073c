"""`clinical bench import`: the whole import, durable in a fresh PostgreSQL with the raw bytes kept.

Each import is a process of its own into a database of its own; the rate of `fhir.resources` is
measured by turns with it. A second, four times larger input shows whether memory grows.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapters.clock import SystemClock
from clinical.errors import OperationalError
from pipelines.evaluation.bench_sample import (
    bundles,
    on_one_core,
    resources,
    seconds_of,
    validate_each,
    validate_whole,
    write_copies,
)
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured
from pipelines.evaluation.timing import middle

COMMAND = "clinical bench import"
GOAL, GOAL_MIB = 4.0, 400.0
_LARGER = 4
_NUM_VALIDATED = 20  # Bundles; enough for a steady rate


class ImportFailedError(OperationalError):
    """The process that imported ended with an error."""

    code = "evaluation.import_failed"


def run(
    path: Path | None, *, num_bundles: int, repetitions: int, say: Callable[[str], None]
) -> list[BenchmarkRow]:
    """Measure; the rows `import.durable_ratio`, `…_by_file` and `import.peak_mib`."""
    bodies = bundles(path, num_bundles)
    wanted = resources(bodies[:_NUM_VALIDATED])
    with tempfile.TemporaryDirectory(prefix="clinical-bench-") as temporary:
        folder = Path(temporary)
        for name, copies in (("small", 1), ("large", _LARGER)):
            (folder / name).mkdir()
            write_copies(bodies, folder / name, copies)
        imports, rates, rates_by_resource = [], [], []
        for number in range(repetitions):
            say(f"Import {number + 1} of {repetitions}, {len(bodies)} Bundles …")
            imports.append(_import(folder / "small", folder / f"data-{number}"))
            with on_one_core():
                whole = seconds_of(
                    lambda: validate_whole(bodies[:_NUM_VALIDATED]), time.perf_counter
                )
                each = seconds_of(lambda: validate_each(wanted), time.perf_counter)
            rates.append(len(wanted) / whole)
            rates_by_resource.append(len(wanted) / each)
        say(f"Import of {_LARGER * len(bodies)} Bundles …")
        large = _import(folder / "large", folder / "data-large")
    return [
        _ratio_row("import.durable_ratio", GOAL, imports, rates_by_resource, len(bodies)),
        _ratio_row("import.durable_ratio_by_file", None, imports, rates, len(bodies)),
        _memory_row(imports, large),
    ]


def _ratio_row(
    row_id: str, goal: float | None, imports: list[dict[str, Any]], rates: list[float], num: int
) -> BenchmarkRow:
    import_rates = [each["num_records"] / each["seconds"] for each in imports]
    ratio, seen = middle([fast / slow for fast, slow in zip(import_rates, rates, strict=True)])
    event_rates = [each["num_events"] / each["seconds"] for each in imports]
    against = "each resource by itself" if goal else "the same files, a Bundle each, whole"
    return measured(
        clock=SystemClock(),
        id=row_id,
        value=ratio,
        unit="×",
        better=Better.HIGHER,
        goal=goal,
        interval=seen,
        baselines={
            "imported, resources/s": middle(import_rates)[0],
            "imported, events/s": middle(event_rates)[0],
            "fhir.resources, one core, resources/s": middle(rates)[0],
        },
        n=imports[0]["num_records"],
        command=COMMAND,
        note=(
            f"Over validating {against} with fhir.resources. {num} Bundles read from disk, raw "
            "bytes and events committed to a fresh embedded PostgreSQL with its durable settings, "
            "import and database on all cores, starting the database left out; median and range of "
            f"{len(imports)} repetitions. Tried: three lanes side by side, binary COPY straight "
            "into the table."
        ),
    )


def _memory_row(imports: list[dict[str, Any]], large: dict[str, Any]) -> BenchmarkRow:
    small, _ = middle([each["peak_mib"] for each in imports])
    sizes = [each["num_bytes"] / 2**20 for each in (imports[0], large)]
    return measured(
        clock=SystemClock(),
        id="import.peak_mib",
        value=max(small, large["peak_mib"]),
        unit="MiB",
        better=Better.LOWER,
        goal=GOAL_MIB,
        baselines={
            f"{sizes[0]:.0f} MiB of input": small,
            f"{sizes[1]:.0f} MiB of input": large["peak_mib"],
        },
        n=len(imports) + 1,
        command=COMMAND,
        note=(
            "Peak resident memory of the importing process, the larger of two sizes of input, both "
            "shown; the database server is a process of its own with 128 MiB of shared buffers."
        ),
    )


def _import(path: Path, data_dir: Path) -> dict[str, Any]:
    program = (sys.executable, "-P", "-m", "pipelines.evaluation.importing_once")
    done = subprocess.run(  # noqa: S603 - our own program
        [*program, str(path), str(data_dir)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ImportFailedError(f"the import ended with status {done.returncode}: {done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told
