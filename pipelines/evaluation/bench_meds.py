"""`clinical bench meds`: from NDJSON to a MEDS data set, against `fhir2meds` and plain `fhir.resources`.

Each way is a program of its own (`meds_contenders/`), held to one core, over the same files; each other
way is measured right after ours, pair by pair.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.clock import SystemClock
from clinical.errors import OperationalError
from pipelines.evaluation import meds_contenders
from pipelines.evaluation.bench_sample import bundles
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured
from pipelines.evaluation.meds_input import write_ndjson
from pipelines.evaluation.timing import middle

COMMAND = "clinical bench meds --fhir2meds-python PYTHON"
PLAIN_GOAL, FHIR2MEDS_GOAL = 10.0, 3.0
_FOLDER = Path(meds_contenders.__path__[0])
_SAME = (
    "Over the same NDJSON (a bulk export of Synthea patients, a file a type, claims included) on one "
    "core: processor time without imports, median and range of the pairs."
)


class ContenderFailedError(OperationalError):
    """A way to MEDS that was to be measured ended with an error, or wrote nothing."""

    code = "evaluation.contender_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One conversion: processor seconds, and rows written."""

    seconds: float
    rows: int


def run(
    path: Path | None,
    *,
    fhir2meds_python: Path | None,
    num_bundles: int,
    repetitions: int,
    say: Callable[[str], None],
) -> list[BenchmarkRow]:
    """Measure; two rows against plain `fhir.resources`, and one against `fhir2meds` where it is installed.

    Raises:
        ContenderFailedError, NoBundlesError
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "ndjson"
        source.mkdir()
        num_resources = write_ndjson(bundles(path, num_bundles), source)
        ours = [sys.executable, str(_FOLDER / "ours.py")]

        def pairs(other: Sequence[str], name: str) -> list[tuple[Run, Run]]:
            found = []
            for number in range(repetitions):
                say(f"{name}, pair {number + 1} of {repetitions}, {num_resources:,} resources …")
                found.append((_once(ours, source), _once(other, source)))
            return found

        plain = [sys.executable, str(_FOLDER / "plain.py")]
        rows = [
            _plain_row(pairs(plain, "fhir.resources"), num_resources),
            _every_line_row(pairs([*plain, "--every"], "fhir.resources, all"), num_resources),
        ]
        if fhir2meds_python is not None:
            program = [str(fhir2meds_python), "-I", str(_FOLDER / "fhir2meds_once.py")]
            rows.append(_fhir2meds_row(pairs(program, "fhir2meds"), num_resources))
        return rows


def _once(program: Sequence[str], source: Path) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(  # noqa: S603 - the programs are ours
            [*program, str(source), str(Path(folder) / "out")],
            capture_output=True,
            text=True,
            check=False,
        )
    name = next(Path(each).name for each in program if each.endswith(".py"))
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:]
        raise ContenderFailedError(f"{name}: {' '.join(last)}")
    found = Run(**json.loads(done.stdout))
    if not found.rows:
        raise ContenderFailedError(f"{name} wrote no row")
    return found


def _plain_row(pairs: Sequence[tuple[Run, Run]], num_resources: int) -> BenchmarkRow:
    return _row(
        "meds.ratio_fhir_resources",
        PLAIN_GOAL,
        pairs,
        num_resources,
        "fhir.resources",
        f"{_SAME} The other validates each line and turns four attributes into one row, the least that "
        "can be done with the library; it does not open types that give no row. Ours makes events of "
        "all parts, timelines, and the whole data set. Tried: rows are named once for each code; what "
        "remains is two thirds reading (`import.parse_ratio`), spread thin.",
    )


def _every_line_row(pairs: Sequence[tuple[Run, Run]], num_resources: int) -> BenchmarkRow:
    return _row(
        "meds.ratio_fhir_resources_every_line",
        None,
        pairs,
        num_resources,
        "fhir.resources",
        f"{_SAME} As `meds.ratio_fhir_resources`, but the other also validates the lines that give no "
        "row (claims and benefits are the largest). Added when that row had missed its goal, so it "
        "carries none.",
    )


def _fhir2meds_row(pairs: Sequence[tuple[Run, Run]], num_resources: int) -> BenchmarkRow:
    return _row(
        "meds.ratio_fhir2meds",
        FHIR2MEDS_GOAL,
        pairs,
        num_resources,
        "fhir2meds",
        f"{_SAME} fhir2meds 0.1.0 as its command runs it: JSON to dictionaries, nothing validated, one "
        "row a resource by four paths, zones cut off instead of converted, no components, ends, sex or "
        "birth, rows not sorted, subjects split over files. That it checks nothing is why it is "
        "fast; the goal assumed that it validates.",
    )


def _row(
    row_id: str,
    goal: float | None,
    pairs: Sequence[tuple[Run, Run]],
    num_resources: int,
    name: str,
    note: str,
) -> BenchmarkRow:
    ratio, seen = middle([other.seconds / ours.seconds for ours, other in pairs])
    ours, others = (middle([run.seconds for run in side])[0] for side in zip(*pairs, strict=True))
    return measured(
        clock=SystemClock(),
        id=row_id,
        value=ratio,
        unit="×",
        better=Better.HIGHER,
        goal=goal,
        interval=seen,
        baselines={
            "ours, resources/s": num_resources / ours,
            f"{name}, resources/s": num_resources / others,
            "ours, rows": pairs[0][0].rows,
            f"{name}, rows": pairs[0][1].rows,
        },
        n=num_resources,
        command=COMMAND,
        note=note,
    )
