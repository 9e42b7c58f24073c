"""`clinical bench train`: the shipped recipe on the shipped patients, from their bytes to a checkpoint."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from adapters.clock import SystemClock
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured, this_machine
from pipelines.evaluation.timing import middle
from pipelines.training.about import SAMPLES
from pipelines.training.patients import sample_timelines
from pipelines.training.recipes import recipe
from pipelines.training.report import Report
from pipelines.training.run import Assignment
from pipelines.training.run import run as train

COMMAND = "clinical bench train"
RECIPE = "cpu-small"


def run(
    *, repetitions: int, num_steps: int | None, say: Callable[[str], None]
) -> list[BenchmarkRow]:
    """Measure; the row `train.cpu_small_s`."""
    seconds, reports = [], []
    for seed in range(repetitions):
        say(f"Training, seed {seed} …")
        took, report = _train(seed, num_steps, say)
        seconds.append(took)
        reports.append(report)
    value, seen = middle(seconds)
    last = reports[-1]
    return [
        measured(
            clock=SystemClock(),
            id="train.cpu_small_s",
            value=value,
            unit="s",
            better=Better.LOWER,
            interval=seen if repetitions > 1 else None,
            baselines={f"of it {name}": took for name, took in last.seconds.items()},
            n=repetitions,
            seeds=tuple(range(repetitions)),
            command=COMMAND,
            note=(
                f"Recipe {RECIPE}, {last.recipe.num_steps:,} steps, {last.num_parameters:,} "
                f"parameters, {sum(last.num_patients.values())} patients, {last.num_events:,} "
                "events: reading, fitting, training, calibrating, describing and saving, on "
                f"{this_machine().cores} cores."
            ),
        )
    ]


def _train(seed: int, num_steps: int | None, say: Callable[[str], None]) -> tuple[float, Report]:
    began = time.perf_counter()
    timelines, _ = sample_timelines()
    with tempfile.TemporaryDirectory(prefix="clinical-bench-") as folder:
        assignment = Assignment(
            recipe=recipe(RECIPE, seed=seed, num_steps=num_steps),
            timelines=timelines,
            out=Path(folder) / "checkpoint",
            name="bench",
            may_be_unhealthy=True,
            about=SAMPLES,
        )
        _, report = train(assignment, say=say)
    return time.perf_counter() - began, report
