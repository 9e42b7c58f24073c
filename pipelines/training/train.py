"""The training loop: lessons drawn, loss made small, weights averaged at the end.

Deterministic under a seed on one machine; a run that was cut off goes on from its last saved step
and ends at the same weights. Knows nothing of files but its own saved state, and nothing of where
lessons come from.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adapters.determinism import compute_alike
from clinical.worldmodel.grounding import Lesson
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.randomness import initialise, seed_dropout
from clinical.worldmodel.ranks import ALONE
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.training.lessons import Lessons
from pipelines.training.processes import Processes
from pipelines.training.recipes import Recipe
from pipelines.training.saving import Run, plain_state, restore, save
from pipelines.training.stepping import Step, compile_blocks, wrapped

_SAVE_EVERY = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: the losses are those of this step."""

    step: int
    num_steps: int
    losses: dict[str, float]


def train(
    recipe: Recipe,
    lessons: Lessons,
    vocabulary: Vocabulary,
    *,
    device: str = "cpu",
    watch: Callable[[Progress], None] = lambda _: None,
    state_file: Path | None = None,
    processes: Processes | None = None,
    inspect: Callable[[int, Jepa], None] | None = None,
) -> Jepa:
    """The trained model, its weights averaged over the last part of the run.

    Each step learns from what `lessons` draws. `state_file` is written every hundred steps, and
    where it exists the run goes on from it. With `processes`, `lessons` must draw this rank's part;
    every rank returns the same whole model.
    """
    device = device if processes is None else processes.device
    compute_alike(device)
    run, step = _begin(recipe, vocabulary, device, processes)
    if state_file is not None and state_file.exists():
        restore(run, state_file, processes)
    run.model.train()
    while run.step < recipe.num_steps:
        losses = _learn(run, step, recipe, lessons, device, processes)
        _average(run, recipe)
        watch(Progress(run.step, recipe.num_steps, losses))
        if inspect is not None:
            inspect(run.step, run.model)
        if state_file is not None and run.step % _SAVE_EVERY == 0:
            save(run, state_file, processes)
    return _finished(run, recipe, vocabulary, processes)


def _learn(
    run: Run,
    step: nn.Module,
    recipe: Recipe,
    lessons: Lessons,
    device: str,
    processes: Processes | None,
) -> dict[str, float]:
    """One step; returns the mean parts of the loss."""
    for group in run.optimiser.param_groups:
        group["lr"] = recipe.learning_rate * schedule(run.step, recipe)
    run.optimiser.zero_grad(set_to_none=True)
    share, totals = 1 / recipe.lessons_per_step, dict[str, torch.Tensor]()
    for _ in range(recipe.lessons_per_step):
        lesson = on_device(lessons(run.generator), device)
        generator = run.generator if device == "cpu" else on(run.generator, device)
        parts = step(lesson, generator)
        (parts["total"] * share).backward()
        for name, part in parts.items():
            totals[name] = totals.get(name, 0.0) + part.detach() * share
    nn.utils.clip_grad_norm_(run.model.parameters(), recipe.max_gradient_norm)
    run.optimiser.step()
    run.step += 1
    ranks = ALONE if processes is None else processes.ranks
    return {name: float(ranks.mean(total)) for name, total in totals.items()}


def action_tokens(vocabulary: Vocabulary, device: str = "cpu") -> torch.Tensor:
    """The tokens of the interventions that the inverse-dynamics head tells apart."""
    tokens = [vocabulary.tokens[key] for key in vocabulary.actions]
    return torch.tensor(tokens, dtype=torch.int64, device=device)


def on(generator: torch.Generator, device: str) -> torch.Generator:
    """A generator on the device, seeded by the next number of the one on the CPU."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return torch.Generator(device).manual_seed(seed)


def _begin(
    recipe: Recipe, vocabulary: Vocabulary, device: str, processes: Processes | None
) -> tuple[Run, nn.Module]:
    generator = torch.Generator().manual_seed(recipe.seed)
    model = Jepa(recipe.model, vocabulary)
    initialise(model, generator)
    dropout = _dropout_generator(generator, device, processes)
    seed_dropout(model, dropout)
    model.to(device)
    if recipe.is_compiled:
        compile_blocks(model)
    ranks = ALONE if processes is None else processes.ranks
    step = wrapped(Step(model, recipe, action_tokens(vocabulary, device), ranks), processes)
    averaged = [torch.zeros_like(weight) for weight in model.parameters()]
    return Run(model, _optimiser(model, recipe), generator, dropout, averaged), step


def _dropout_generator(
    generator: torch.Generator, device: str, processes: Processes | None
) -> torch.Generator:
    """On one CPU the run's own; elsewhere one on the device, on every rank another."""
    if processes is None:
        return generator if device == "cpu" else on(generator, device)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return torch.Generator(device).manual_seed(seed + processes.rank)


def _optimiser(model: Jepa, recipe: Recipe) -> torch.optim.AdamW:
    plain = [p for n, p in model.named_parameters() if p.ndim < 2 or n.startswith("embedding.")]
    decayed = [
        p for n, p in model.named_parameters() if p.ndim >= 2 and not n.startswith("embedding.")
    ]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def schedule(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine down to a fiftieth."""
    if step < recipe.warm_up_steps:
        return (step + 1) / recipe.warm_up_steps
    share = (step - recipe.warm_up_steps) / max(1, recipe.num_steps - recipe.warm_up_steps)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))


def on_device(lesson: Lesson, device: str) -> Lesson:
    """The lesson on another device."""
    if device == "cpu":
        return lesson
    context = lesson.context.to(device)
    is_same = lesson.future is lesson.context
    return Lesson(
        context=context,
        row=lesson.row.to(device),
        day=lesson.day.to(device),
        future=context if is_same else lesson.future.to(device),
        future_row=lesson.future_row.to(device),
        may_enter=lesson.may_enter.to(device),
        bounds=lesson.bounds.to(device),
        followed_days=lesson.followed_days.to(device),
        bootstrap=lesson.bootstrap.to(device),
        part=lesson.part and lesson.part.to(device),
    )


def _average(run: Run, recipe: Recipe) -> None:
    if run.step <= recipe.num_steps * (1 - recipe.averaged_share):
        return
    run.num_averaged += 1
    with torch.no_grad():
        for mean, weight in zip(run.averaged, run.model.parameters(), strict=True):
            mean.add_((weight - mean) / run.num_averaged)


def _finished(
    run: Run, recipe: Recipe, vocabulary: Vocabulary, processes: Processes | None
) -> Jepa:
    """The averaged model, whole and free of what wrapped it."""
    if run.num_averaged:
        with torch.no_grad():
            for mean, weight in zip(run.averaged, run.model.parameters(), strict=True):
                weight.copy_(mean)
    if processes is None:
        return run.model.eval()
    model = Jepa(recipe.model, vocabulary).to(processes.device)
    model.load_state_dict(plain_state(run.model))
    return model.eval()
