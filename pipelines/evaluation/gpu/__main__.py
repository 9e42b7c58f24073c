"""Training, serving and correctness on one GPU, in one command of under ten minutes.

    PYTHONPATH=.:jaxtyping-….whl:wadler_lindig-….whl python -m pipelines.evaluation.gpu --out gpu.json

Needs Python 3.11, torch, numpy, this repository and two small pure-Python wheels, which are used as
they are (a wheel is a zip file that Python can import from): jaxtyping and wadler-lindig. Nothing is
installed, and nothing is fetched. The rows go into the benchmark file by `clinical bench record`.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from adapters.clock import SystemClock
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.fitting import fit
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.evaluation.gpu.measuring import (
    Serving,
    Speed,
    answers,
    apart,
    matmul_rate,
    serving_speed,
    training_speed,
)
from pipelines.evaluation.gpu.patients import made_up
from pipelines.icu.challenge import read_stays
from pipelines.training.dataset import Case, case_of
from pipelines.training.lessons import CaseLessons
from pipelines.training.recipes import RECIPES, Recipe, recipe

# Dense bfloat16 peaks of the vendor's data sheets, in operations per second.
_PEAKS = {"H200": 989e12, "H100 NVL": 835e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12}
_COMPARED = 16  # patients whose answers are compared


def main(words: list[str]) -> None:
    """Measure and write the rows."""
    options = _options().parse_args(words)
    began = time.perf_counter()
    chosen = _recipe(options)
    _say(began, "writing patients")
    timelines = _timelines(options)
    vocabulary = fit(timelines, _same_unit, config=chosen.vocabulary)
    tensorizer = Tensorizer(vocabulary, chosen.model.clock_days)
    cases = [case for t in timelines if (case := case_of(t, tensorizer)) is not None]
    _say(began, f"{len(cases)} patients, {sum(map(len, timelines)):,} events; training")
    lessons = CaseLessons(chosen, cases, tensorizer)
    speed = training_speed(chosen, lessons, vocabulary, options.device, options.seconds)
    _say(began, f"{speed.num_steps} steps, {speed.events_per_s:,.0f} events/s; serving")
    batches = [case.whole for case in cases[:_COMPARED]]
    served = [
        serving_speed(speed.model, batches, size, chosen, options.repetitions)
        for size in options.sizes
    ]
    _say(began, "comparing with a CPU")
    differences = _differences(speed.model, cases, chosen, options.device)
    rows = _rows(options, chosen, speed, served, differences, time.perf_counter() - began)
    options.out.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", "utf-8")
    for row in rows:
        _say(began, f"{row['id']}: {row['value']:.4g} {row['unit']}")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="gpu-10min")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=180.0, help="of training")
    parser.add_argument("--patients", type=int, default=256)
    parser.add_argument("--bundles", type=int, default=512, help="of each made-up patient")
    parser.add_argument("--data", type=Path, help="PhysioNet 2012 set-a.tar.gz instead of made-up")
    parser.add_argument("--repetitions", type=int, default=300, help="of each forecast")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 64, 256, 1024, 4096])
    parser.add_argument("--patients-per-step", type=int, help="instead of the recipe's")
    parser.add_argument("--compile", action="store_true", help="compile the blocks")
    parser.add_argument("--commit", default="unknown", help="of this code, for the rows")
    return parser


def _recipe(options: argparse.Namespace) -> Recipe:
    chosen = replace(recipe(options.recipe), is_compiled=options.compile)
    if options.patients_per_step:
        chosen = replace(chosen, patients_per_step=options.patients_per_step, lessons_per_step=1)
    return chosen


def _timelines(options: argparse.Namespace) -> list[Timeline]:
    if options.data is not None:
        return [stay.timeline for stay in read_stays(options.data)[: options.patients]]
    return [made_up(number, options.bundles) for number in range(options.patients)]


def _same_unit(unit: str, to: str) -> tuple[float, float] | None:
    """Each code has one unit here."""
    return (1.0, 0.0) if unit == to else None


def _differences(model: Jepa, cases: list[Case], chosen: Recipe, device: str) -> dict[str, float]:
    """Against float32 on the CPU: float32 on the device, and bfloat16 there."""
    batches = [case.whole for case in cases[:_COMPARED]]
    exact = replace(chosen, bfloat16_on=())
    half = replace(chosen, bfloat16_on=(torch.device(device).type,))
    own = {name: answers(model, batches, how) for name, how in (("fp32", exact), ("bf16", half))}
    right = answers(model.cpu(), batches, exact)
    model.to(device)
    return {name: apart(told, right) for name, told in own.items()}


def _rows(
    options: argparse.Namespace,
    chosen: Recipe,
    speed: Speed,
    served: list[Serving],
    differences: dict[str, float],
    seconds: float,
) -> list[dict[str, Any]]:
    device = _device_name(options.device)
    peak = next((rate for name, rate in _PEAKS.items() if name in device), None)
    reached = matmul_rate(options.device, 8192 if options.device != "cpu" else 512)
    weights = sum(weight.numel() for weight in speed.model.parameters())
    patients = "stays of PhysioNet 2012" if options.data else "made-up patients"
    about = f"{device}, torch {torch.__version__}, recipe {chosen.name}, {weights:,} parameters. "
    best, alone = max(served, key=lambda each: each.per_s), served[0]
    common = _common(options, device)

    def row(name: str, value: float, unit: str, note: str, **more: Any) -> dict[str, Any]:
        given: dict[str, Any] = {
            "better": "higher",
            "goal": None,
            "interval": None,
            "baselines": {},
            "n": 1,
        }
        fields = {"id": name, "value": value, "unit": unit, "note": about + note}
        return given | common | fields | more

    rows = [
        row(
            "gpu.train_tokens_s",
            speed.events_per_s,
            "events/s",
            f"{speed.num_steps} steps of the ordinary loop on {options.patients} {patients}, drawing "
            f"of lessons included; the whole script took {seconds:.0f} s.",
            n=speed.num_steps,
            baselines={
                "bundles/s": speed.bundles_per_s,
                "share of time drawing": speed.drawing_share,
                "first loss": speed.losses[0],
                "last loss": speed.losses[-1],
            },
        ),
        row(
            "gpu.train_peak_share",
            speed.operations_per_s / (peak or reached),
            "of 1",
            "Operations of matrix products over "
            + (
                "the data sheet's dense bfloat16 peak." if peak else "one large bfloat16 product's."
            ),
            n=speed.num_steps,
            baselines={
                "operations/s": speed.operations_per_s,
                "of one large product": speed.operations_per_s / reached,
            },
        ),
        row(
            "gpu.forecast_s",
            best.per_s,
            "forecasts/s",
            f"All windows and readouts from the state, {best.size} patients at once.",
            n=options.repetitions,
            baselines={f"p50 ms at {each.size}": each.p50_ms for each in served}
            | {f"p99 ms at {each.size}": each.p99_ms for each in served},
        ),
        row(
            "gpu.p99_batch1_ms",
            alone.p99_ms,
            "ms",
            f"All windows and readouts of {alone.size} patient at a time.",
            better="lower",
            n=options.repetitions,
            baselines={"p50": alone.p50_ms},
        ),
    ]
    return rows + [
        row(
            f"gpu.apart_{name}",
            value,
            "of 1",
            f"Root mean square difference of state, latents and readouts from float32 on the CPU, "
            f"{_COMPARED} patients.",
            better="lower",
            n=_COMPARED,
        )
        for name, value in differences.items()
    ]


def _common(options: argparse.Namespace, device: str) -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "seeds": [],
        "command": "python -m pipelines.evaluation.gpu",
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory / 2**30),
            "device": device,
        },
        "date": SystemClock().now().date().isoformat(),
        "commit": options.commit,
    }


def _device_name(device: str) -> str:
    return "cpu" if device == "cpu" else torch.cuda.get_device_name(device)


def _say(began: float, words: str) -> None:
    sys.stdout.write(f"{time.perf_counter() - began:6.1f} s  {words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
