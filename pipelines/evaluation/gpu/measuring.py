"""What is measured on the device: training, serving, and how far its numbers are from a CPU's."""

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from clinical.worldmodel.batch import TimelineBatch, join
from clinical.worldmodel.grounding import Lesson
from clinical.worldmodel.jepa import Jepa, Reading
from clinical.worldmodel.randomness import initialise, seed_dropout
from clinical.worldmodel.tensorize import Tensorizer
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.training.dataset import Case
from pipelines.training.lessons import CaseLessons, Lessons
from pipelines.training.recipes import Recipe
from pipelines.training.stepping import Step, autocast
from pipelines.training.train import action_tokens, on_device, train

COMPARED = 16
"""Patients whose answers are compared."""
_ALIKE = 64  # patients of the short trainings that are compared
_ALIKE_STEPS = 3
_WARM_UP_STEPS = 2
_WARM_UP = 5


class _TimeIsUp(Exception):  # noqa: N818 - no error: it ends the training in good time
    """Raised amid training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Of training; the first two steps are not counted."""

    model: Jepa
    num_steps: int
    events_per_s: float
    bundles_per_s: float
    operations_per_s: float
    drawing_share: float  # of the time, spent drawing lessons on the CPU
    losses: list[float]  # of all steps


class _Counted:
    """Lessons, and how much they held since `forget`."""

    def __init__(self, lessons: Lessons) -> None:
        self._lessons = lessons
        self.forget()

    def forget(self) -> None:
        """Begin to count anew."""
        self.num_lessons = self.num_events = self.num_bundles = 0
        self.seconds, self.began = 0.0, time.perf_counter()

    def __call__(self, generator: torch.Generator) -> Lesson:
        began = time.perf_counter()
        lesson = self._lessons(generator)
        self.seconds += time.perf_counter() - began
        self.num_lessons += 1
        self.num_events += len(lesson.context.event_concept)
        self.num_bundles += len(lesson.context.bundle_day)
        return lesson


def training_speed(
    recipe: Recipe, lessons: Lessons, vocabulary: Vocabulary, device: str, seconds: float
) -> Speed:
    """Train by the ordinary loop for about so long."""
    counted, losses, last = _Counted(lessons), list[float](), list[Jepa]()
    first, count = time.perf_counter(), 0

    def inspect(step: int, model: Jepa) -> None:
        nonlocal count
        _settled(device)
        if step == _WARM_UP_STEPS:
            counted.forget()
        count = step - _WARM_UP_STEPS
        last[:] = [model]
        if count > 0 and time.perf_counter() - first > seconds:
            raise _TimeIsUp

    with contextlib.suppress(_TimeIsUp):
        train(
            recipe,
            counted,
            vocabulary,
            device=device,
            watch=lambda progress: losses.append(progress.losses["total"]),
            inspect=inspect,
        )
    took = time.perf_counter() - counted.began
    operations = _operations(recipe, lessons, vocabulary, device) * counted.num_lessons
    return Speed(
        model=last[0].eval(),
        num_steps=count,
        events_per_s=counted.num_events / took,
        bundles_per_s=counted.num_bundles / took,
        operations_per_s=operations / took,
        drawing_share=counted.seconds / took,
        losses=losses,
    )


def _operations(recipe: Recipe, lessons: Lessons, vocabulary: Vocabulary, device: str) -> int:
    """Of the matrix products of one lesson, forwards and backwards."""
    generator = torch.Generator().manual_seed(recipe.seed)
    model = Jepa(recipe.model, vocabulary)
    initialise(model, generator)
    seed_dropout(model, torch.Generator(device).manual_seed(0))
    step = Step(model.to(device).train(), recipe, action_tokens(vocabulary, device))
    lesson = on_device(lessons(generator), device)
    counter = FlopCounterMode(display=False)
    with counter:
        parts = step(lesson, torch.Generator(device).manual_seed(0))
        parts["total"].backward()
    return int(counter.get_total_flops())


def matmul_rate(device: str, size: int) -> float:
    """Operations per second of one large bfloat16 product: what the device reaches at best."""
    left = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    took = durations(lambda: left @ left, device, 10)
    return 2 * size**3 / min(took)


def durations(action: Callable[[], object], device: str, repetitions: int) -> list[float]:
    """Seconds of each repetition, warm, the device idle before and after."""
    found = []
    for number in range(_WARM_UP + repetitions):
        _settled(device)
        began = time.perf_counter()
        action()
        _settled(device)
        if number >= _WARM_UP:
            found.append(time.perf_counter() - began)
    return found


def _settled(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Forecasts of all windows from the state, `size` patients at once; milliseconds a batch."""

    size: int
    p50_ms: float
    p99_ms: float
    per_s: float


@torch.no_grad()
def serving_speed(
    model: Jepa, batches: list[TimelineBatch], size: int, recipe: Recipe, repetitions: int
) -> Serving:
    """Read the state of `size` patients from what is remembered and foretell every window."""
    device = next(model.parameters()).device
    reading, bounds = _reading(model, batches, size)

    def forecast() -> object:
        with autocast(recipe, device):
            return model.forecast(reading, bounds)

    took = sorted(durations(forecast, device.type, repetitions))
    middle = statistics.median(took)
    worst = took[min(len(took) - 1, int(0.99 * len(took)))]
    return Serving(size=size, p50_ms=1e3 * middle, p99_ms=1e3 * worst, per_s=size / middle)


def _reading(model: Jepa, batches: list[TimelineBatch], size: int) -> tuple[Reading, torch.Tensor]:
    device = next(model.parameters()).device
    batch = join(batches).to(device)
    row = torch.arange(size, device=device) % len(batches)
    last = torch.full((len(batches),), -torch.inf, dtype=torch.float64, device=device)
    day = last.scatter_reduce(0, batch.bundle_row, batch.bundle_day, reduce="amax")[row]
    reading = model.read(batch, model.encode(batch), row, day)
    bounds = torch.tensor(model.config.windows_days, dtype=torch.float32, device=device)
    return reading, bounds.expand(size, -1, -1)


@torch.no_grad()
def answers(model: Jepa, batches: list[TimelineBatch], recipe: Recipe) -> torch.Tensor:
    """Everything that is foretold of each patient, one row a patient, on the CPU in float32."""
    device = next(model.parameters()).device
    with autocast(recipe, device):
        reading, bounds = _reading(model, batches, len(batches))
        latents, raw = model.forecast(reading, bounds)
    told = (reading.state, latents, raw.quantiles, raw.measured, raw.intensity)
    return torch.cat([part.float().flatten(1).cpu() for part in told], dim=1)


def apart(found: torch.Tensor, right: torch.Tensor) -> float:
    """Root mean square difference over the root mean square of what is right."""
    return float((found - right).square().mean().sqrt() / right.square().mean().sqrt())


def same_bits(
    recipe: Recipe,
    cases: list[Case],
    tensorizer: Tensorizer,
    vocabulary: Vocabulary,
    device: str,
) -> float:
    """The share of weights and of forecast numbers that two equal runs give alike in every bit."""
    size = min(recipe.patients_per_step, len(cases), _ALIKE)
    short = replace(
        recipe, num_steps=_ALIKE_STEPS, patients_per_step=size, lessons_per_step=1, warm_up_steps=1
    )

    def run() -> torch.Tensor:
        model = train(short, CaseLessons(short, cases, tensorizer), vocabulary, device=device)
        weights = torch.cat([weight.detach().flatten().cpu() for weight in model.parameters()])
        told = answers(model, [case.whole for case in cases[:COMPARED]], recipe)
        return torch.cat([weights, told.flatten()])

    one, other = run(), run()
    return float((one.view(torch.int32) == other.view(torch.int32)).double().mean())
