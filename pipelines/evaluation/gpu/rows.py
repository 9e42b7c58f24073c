"""The rows of the GPU script, from what it measured."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from adapters.clock import SystemClock
from pipelines.evaluation.gpu.measuring import COMPARED, Serving, Speed
from pipelines.training.recipes import Recipe

# Dense bfloat16 peaks of the vendor's data sheets, in operations per second.
_PEAKS = {"H200": 989e12, "H100 NVL": 835e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Everything that one run of the script measured."""

    recipe: Recipe
    patients: str  # how many, and whose
    device: str
    commit: str
    repetitions: int
    speed: Speed
    served: Sequence[Serving]
    differences: Mapping[str, float]  # from float32 on the CPU
    same: float  # share of numbers that came out alike in every bit
    product_rate: float  # operations per second of one large bfloat16 product
    seconds: float  # of the whole script

    @property
    def device_name(self) -> str:
        """As the vendor calls it."""
        return "cpu" if self.device == "cpu" else torch.cuda.get_device_name(self.device)

    @property
    def peak(self) -> float | None:
        """Of the data sheet, where we know it."""
        return next((rate for name, rate in _PEAKS.items() if name in self.device_name), None)


def rows_of(found: Found) -> list[dict[str, Any]]:
    """One row for each figure, without importing what the benchmark file needs."""
    return [*_training(found), *_serving(found), *_numbers(found)]


def _training(found: Found) -> list[dict[str, Any]]:
    speed = found.speed
    reached = (
        "the data sheet's dense bfloat16 peak" if found.peak else "one large bfloat16 product's"
    )
    return [
        _row(
            found,
            id="gpu.train_tokens_s",
            value=speed.events_per_s,
            unit="events/s",
            note=(
                f"{speed.num_steps} steps of the ordinary loop on {found.patients}, drawing of lessons "
                f"included; the whole script took {found.seconds:.0f} s."
            ),
            n=speed.num_steps,
            baselines={
                "bundles/s": speed.bundles_per_s,
                "share of time drawing": speed.drawing_share,
                "first loss": speed.losses[0],
                "last loss": speed.losses[-1],
            },
        ),
        _row(
            found,
            id="gpu.train_peak_share",
            value=speed.operations_per_s / (found.peak or found.product_rate),
            unit="of 1",
            note=f"Operations of matrix products over {reached}.",
            n=speed.num_steps,
            baselines={
                "operations/s": speed.operations_per_s,
                "of one large product": speed.operations_per_s / found.product_rate,
            },
        ),
    ]


def _serving(found: Found) -> list[dict[str, Any]]:
    best, alone = max(found.served, key=lambda each: each.per_s), found.served[0]
    return [
        _row(
            found,
            id="gpu.forecast_s",
            value=best.per_s,
            unit="forecasts/s",
            note=f"All windows and readouts from the state, {best.size} patients at once.",
            n=found.repetitions,
            baselines={f"p50 ms at {each.size}": each.p50_ms for each in found.served}
            | {f"p99 ms at {each.size}": each.p99_ms for each in found.served},
        ),
        _row(
            found,
            id="gpu.p99_batch1_ms",
            value=alone.p99_ms,
            unit="ms",
            note=f"All windows and readouts of {alone.size} patient at a time.",
            better="lower",
            n=found.repetitions,
            baselines={"p50": alone.p50_ms},
        ),
    ]


def _numbers(found: Found) -> list[dict[str, Any]]:
    apart = [
        _row(
            found,
            id=f"gpu.apart_{name}",
            value=value,
            unit="of 1",
            note=(
                "Root mean square difference of state, latents and readouts from float32 on the CPU, "
                f"{COMPARED} patients."
            ),
            better="lower",
            n=COMPARED,
        )
        for name, value in found.differences.items()
    ]
    same = _row(
        found,
        id="gpu.same_bits",
        value=found.same,
        unit="of 1",
        note=(
            "Share of numbers that came out alike in every bit: weights after the same few steps from "
            f"the same seed, and forecasts of {COMPARED} patients, each computed twice."
        ),
        goal=1.0,
        n=2,
    )
    return [*apart, same]


def _row(found: Found, *, note: str, **fields: Any) -> dict[str, Any]:
    weights = sum(weight.numel() for weight in found.speed.model.parameters())
    about = (
        f"{found.device_name}, torch {torch.__version__}, recipe {found.recipe.name}, "
        f"{weights:,} parameters. "
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    common: dict[str, Any] = {
        "better": "higher",
        "goal": None,
        "interval": None,
        "baselines": {},
        "n": 1,
        "seeds": [],
        "command": "python -m pipelines.evaluation.gpu",
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory / 2**30),
            "device": found.device_name,
        },
        "date": SystemClock().now().date().isoformat(),
        "commit": found.commit,
        "note": about + note,
    }
    return common | fields
