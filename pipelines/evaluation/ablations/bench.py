"""`clinical bench ablations` and `clinical bench gates`: matched runs, resumable, and their rows.

Knows which runs make a row and what the notes must say. Does not know how anything is computed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.clock import SystemClock
from pipelines.evaluation.ablations.arms import ARMS, BASE, Arm
from pipelines.evaluation.ablations.held_out import Patients, measure, patients
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured
from pipelines.training.gates import Gate
from pipelines.training.patients import sample_timelines
from pipelines.training.recipes import Recipe, recipe
from pipelines.training.train import Progress

FOLDER = Path("var/bench/ablations")
_RECIPE = "cpu-small"
_SHOWN = ("values", "happened")
_RESAMPLES = 1000
_RANK = "rank of target latents / width"
_GAP = "loss gap under shuffled plans, lower 95 % bound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is trained: the recipe's own where nothing is given."""

    seeds: tuple[int, ...]
    num_steps: int | None = None
    patients_per_step: int | None = None

    def of(self, seed: int) -> Recipe:
        """The recipe of this size."""
        made = recipe(_RECIPE, seed=seed, num_steps=self.num_steps)
        if self.patients_per_step is None:
            return made
        return replace(made, patients_per_step=self.patients_per_step)


def run_ablations(
    size: Size, *, say: Callable[[str], None], folder: Path = FOLDER, arms: Sequence[Arm] = ARMS
) -> list[BenchmarkRow]:
    """Every arm and the base on every seed; two rows an arm."""
    read = patients(sample_timelines()[0], size.of(0))
    runs = {
        arm.name: [_run(arm, seed, size, read, folder, say) for seed in size.seeds]
        for arm in (BASE, *arms)
    }
    return [
        _row(arm, loss, runs[arm.name], runs[BASE.name], size) for arm in arms for loss in _SHOWN
    ]


def _run(
    arm: Arm, seed: int, size: Size, read: Patients, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    def watch(progress: Progress) -> None:
        say(f"{arm.name}, seed {seed}: step {progress.step} of {progress.num_steps}")

    return measure(arm.change(size.of(seed)), read, folder, watch)


def _row(
    arm: Arm,
    loss: str,
    runs: Sequence[dict[str, Any]],
    base: Sequence[dict[str, Any]],
    size: Size,
) -> BenchmarkRow:
    own, other = _by_patient(runs, loss), _by_patient(base, loss)
    low, high = _interval(own - other)
    made = size.of(0)
    seeds = ",".join(map(str, size.seeds))
    steps = f" --steps {size.num_steps}" if size.num_steps else ""
    width = f" --patients {size.patients_per_step}" if size.patients_per_step else ""
    return measured(
        clock=SystemClock(),
        id=f"ablation.{arm.ablation}.{arm.name}.{loss}",
        value=float((own - other).mean()),
        unit="more loss than base",
        better=Better.LOWER,
        interval=(low, high),
        baselines={
            "loss": float(own.mean()),
            "base": float(other.mean()),
            "rank / width": _sign(runs, _RANK),
            "base's": _sign(base, _RANK),
            "action gap": _sign(runs, _GAP),
            "base's gap": _sign(base, _GAP),
        },
        n=len(own),
        seeds=size.seeds,
        command=f"clinical bench ablations --seeds {seeds}{steps}{width}",
        note=(
            f"{arm.what}, against: {BASE.what}. Recipe {_RECIPE} but for that, {made.num_steps} "
            f"steps of {made.patients_per_step} patients, on the shipped synthetic patients; "
            f"{_LOSS_WORDS[loss]} of held-out patients, mean over seeds, paired by patient and seed, "
            "resampled over patients. Rank and action gap (lower bound) on validation patients."
        ),
    )


_LOSS_WORDS = {
    "values": "pinball loss of next values (standard deviations)",
    "happened": "log loss of what happens in each window",
}


def _by_patient(runs: Sequence[dict[str, Any]], loss: str) -> NDArray[np.float64]:
    losses: NDArray[np.float64] = np.array([[one[loss] for one in run["losses"]] for run in runs])
    return np.asarray(losses.mean(0), dtype=np.float64)


def _interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    drawn = np.random.default_rng(0).integers(len(differences), size=(_RESAMPLES, len(differences)))
    low, high = np.quantile(differences[drawn].mean(1), (0.025, 0.975))
    return float(low), float(high)


def _sign(runs: Sequence[dict[str, Any]], name: str) -> float:
    found = [g["found"] for run in runs for g in run["gates"] if g["name"] == name]
    return float(np.mean([number for number in found if number is not None]))


def run_gates(
    size: Size, *, say: Callable[[str], None], folder: Path = FOLDER
) -> list[BenchmarkRow]:
    """The recipe on every seed: on how many all decisive signs, and all that are judged, are healthy."""
    read = patients(sample_timelines()[0], size.of(0))
    runs = {seed: _run(BASE, seed, size, read, folder, say) for seed in size.seeds}
    return [_green(name, runs, size) for name in _GATE_ROWS]


_GATE_ROWS: dict[str, tuple[str, Callable[[Gate], bool]]] = {
    "gates.unfailed_seeds": (
        "no decisive sign of health is missing, which is what `clinical train` asks for",
        lambda gate: not (gate.is_starred and gate.is_failed),
    ),
    "gates.green_seeds": (
        "every decisive sign of health is there; undecided is not there",
        lambda gate: gate.is_green or not gate.is_starred,
    ),
    "gates.all_signs_seeds": (
        "every judged sign of health is there, the decisive and the others",
        lambda gate: gate.is_green,
    ),
}
"""By row: what is asked of a seed, in words and of each sign."""


def _green(name: str, runs: dict[int, dict[str, Any]], size: Size) -> BenchmarkRow:
    asked, holds = _GATE_ROWS[name]
    missing = {
        seed: [
            f"{gate['name']} {gate['found']:.3f}"
            for gate in run["gates"]
            if not holds(Gate(**gate))
        ]
        for seed, run in runs.items()
    }
    words = "; ".join(
        f"seed {seed}: {', '.join(signs)}" for seed, signs in missing.items() if signs
    )
    made = size.of(0)
    steps = f" --steps {size.num_steps}" if size.num_steps else ""
    return measured(
        clock=SystemClock(),
        id=name,
        value=float(sum(not signs for signs in missing.values())),
        unit=f"of {len(runs)} seeds",
        better=Better.HIGHER,
        goal=float(len(runs)),
        n=len(runs),
        seeds=size.seeds,
        command=f"clinical bench gates --seeds {','.join(map(str, size.seeds))}{steps}",
        note=(
            f"Recipe {_RECIPE}, {made.num_steps} steps, on the shipped patients: seeds on which, on "
            f"validation patients, {asked}. Missing: {words or 'none'}."
        ),
    )
