"""Training, serving and correctness on one GPU, in one command of under ten minutes.

    PYTHONPATH=.:jaxtyping-….whl:wadler_lindig-….whl python -m pipelines.evaluation.gpu --out gpu.json

Needs Python 3.11, torch, numpy, this repository and two small pure-Python wheels, which are used as
they are (a wheel is a zip file that Python can import from): jaxtyping and wadler-lindig. Nothing is
installed, and nothing is fetched. The rows go into the benchmark file by `clinical bench record`.
"""

import argparse
import json
import pickle
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch

from clinical.timeline.timeline import Timeline
from clinical.worldmodel.fitting import fit
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.tensorize import Tensorizer
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.evaluation.gpu.measuring import (
    COMPARED,
    answers,
    apart,
    matmul_rate,
    same_bits,
    serving_speed,
    training_speed,
)
from pipelines.evaluation.gpu.patients import made_up
from pipelines.evaluation.gpu.rows import Found, rows_of
from pipelines.icu.challenge import read_stays
from pipelines.training.dataset import Case, case_of
from pipelines.training.lessons import CaseLessons
from pipelines.training.recipes import RECIPES, Recipe, recipe

_FITTED = 32  # made-up patients to whom the vocabulary is fitted
_SHARES = 32  # in which the others are written, side by side


def main(words: list[str]) -> None:
    """Measure and write the rows."""
    options = _options().parse_args(words)
    began = time.perf_counter()
    chosen = _recipe(options)
    _say(began, "writing patients")
    cases, vocabulary, tensorizer = _patients(options, chosen)
    num_events = sum(sum(case.whole.num_events) for case in cases)
    _say(began, f"{len(cases)} patients, {num_events:,} events; training")
    lessons = CaseLessons(chosen, cases, tensorizer)
    speed = training_speed(chosen, lessons, vocabulary, options.device, options.seconds)
    _say(began, f"{speed.num_steps} steps, {speed.events_per_s:,.0f} events/s; serving")
    batches = [case.whole for case in cases[:COMPARED]]
    served = [
        serving_speed(speed.model, batches, size, chosen, options.repetitions)
        for size in options.sizes
    ]
    _say(began, "comparing with a CPU")
    differences = _differences(speed.model, cases, chosen, options.device)
    _say(began, "the same again")
    found = Found(
        recipe=chosen,
        patients=f"{options.patients} {'stays of PhysioNet 2012' if options.data else 'made-up patients'}",
        device=options.device,
        commit=options.commit,
        repetitions=options.repetitions,
        speed=speed,
        served=served,
        differences=differences,
        same=same_bits(chosen, cases, tensorizer, vocabulary, options.device),
        product_rate=matmul_rate(options.device, 8192 if options.device != "cpu" else 512),
        seconds=time.perf_counter() - began,
    )
    rows = rows_of(found)
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


def _patients(
    options: argparse.Namespace, chosen: Recipe
) -> tuple[list[Case], Vocabulary, Tensorizer]:
    if options.data is not None:
        timelines = [stay.timeline for stay in read_stays(options.data)[: options.patients]]
    else:
        timelines = _made_up(range(min(_FITTED, options.patients)), options.bundles)
    vocabulary = fit(timelines, _same_unit, config=chosen.vocabulary)
    tensorizer = Tensorizer(vocabulary, chosen.model.clock_days)
    if options.data is not None:
        return _cases(timelines, tensorizer), vocabulary, tensorizer
    shares = [range(start, options.patients, _SHARES) for start in range(_SHARES)]
    # Nothing has started a thread of its own or touched the device yet.
    with ProcessPoolExecutor(mp_context=get_context("fork")) as pool:
        waiting = [pool.submit(_written, share, options.bundles, tensorizer) for share in shares]
        cases = [pickle.loads(each.result()) for each in waiting]  # noqa: S301 - our own bytes
    return [case for share in cases for case in share], vocabulary, tensorizer


def _written(numbers: range, num_bundles: int, tensorizer: Tensorizer) -> bytes:
    """The cases of some made-up patients; as bytes, for tensors would go by file descriptors."""
    torch.set_num_threads(1)
    return pickle.dumps(_cases(_made_up(numbers, num_bundles), tensorizer))


def _made_up(numbers: range, num_bundles: int) -> list[Timeline]:
    return [made_up(number, num_bundles) for number in numbers]


def _cases(timelines: list[Timeline], tensorizer: Tensorizer) -> list[Case]:
    return [case for t in timelines if (case := case_of(t, tensorizer)) is not None]


def _same_unit(unit: str, to: str) -> tuple[float, float] | None:
    """Each code has one unit here."""
    return (1.0, 0.0) if unit == to else None


def _differences(model: Jepa, cases: list[Case], chosen: Recipe, device: str) -> dict[str, float]:
    """Against float32 on the CPU: float32 on the device, and bfloat16 there."""
    batches = [case.whole for case in cases[:COMPARED]]
    exact = replace(chosen, bfloat16_on=())
    half = replace(chosen, bfloat16_on=(torch.device(device).type,))
    own = {name: answers(model, batches, how) for name, how in (("fp32", exact), ("bf16", half))}
    right = answers(model.cpu(), batches, exact)
    model.to(device)
    return {name: apart(told, right) for name, told in own.items()}


def _say(began: float, words: str) -> None:
    sys.stdout.write(f"{time.perf_counter() - began:6.1f} s  {words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
