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
from safetensors.torch import load_file, save_file

from clinical.worldmodel.grounding import Lesson
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.learning import training_loss
from clinical.worldmodel.randomness import initialise, seed_dropout
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.training.lessons import Lessons
from pipelines.training.recipes import Recipe

_SAVE_EVERY = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: the losses are those of this step."""

    step: int
    num_steps: int
    losses: dict[str, float]


@dataclass(slots=True)
class _Run:
    """All that changes while training."""

    model: Jepa
    optimiser: torch.optim.AdamW
    generator: torch.Generator
    averaged: list[torch.Tensor]
    num_averaged: int = 0
    step: int = 0


def train(
    recipe: Recipe,
    lessons: Lessons,
    vocabulary: Vocabulary,
    *,
    device: str = "cpu",
    watch: Callable[[Progress], None] = lambda _: None,
    state_file: Path | None = None,
) -> Jepa:
    """The trained model, its weights averaged over the last part of the run.

    Each step learns from what `lessons` draws. `state_file` is written every hundred steps, and where it exists the run goes on from it.
    """
    run = _begin(recipe, vocabulary, device)
    if state_file is not None and state_file.exists():
        _restore(run, state_file)
    actions = action_tokens(vocabulary, device)
    run.model.train()
    while run.step < recipe.num_steps:
        lesson = on_device(lessons(run.generator), device)
        for group in run.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * schedule(run.step, recipe)
        parts = training_loss(
            run.model,
            lesson,
            actions,
            config=recipe.loss,
            corruption=recipe.corruption,
            generator=run.generator if device == "cpu" else _on(run.generator, device),
        )
        run.optimiser.zero_grad(set_to_none=True)
        parts["total"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), recipe.max_gradient_norm)
        run.optimiser.step()
        run.step += 1
        _average(run, recipe)
        watch(
            Progress(run.step, recipe.num_steps, {k: float(v.detach()) for k, v in parts.items()})
        )
        if state_file is not None and run.step % _SAVE_EVERY == 0:
            _save(run, state_file)
    return _finished(run)


def action_tokens(vocabulary: Vocabulary, device: str = "cpu") -> torch.Tensor:
    """The tokens of the interventions that the inverse-dynamics head tells apart."""
    tokens = [vocabulary.tokens[key] for key in vocabulary.actions]
    return torch.tensor(tokens, dtype=torch.int64, device=device)


def _on(generator: torch.Generator, device: str) -> torch.Generator:
    """A generator on the device, seeded by the next number of the one on the CPU."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return torch.Generator(device).manual_seed(seed)


def _begin(recipe: Recipe, vocabulary: Vocabulary, device: str) -> _Run:
    generator = torch.Generator().manual_seed(recipe.seed)
    model = Jepa(recipe.model, vocabulary)
    initialise(model, generator)
    seed_dropout(model, generator if device == "cpu" else _on(generator, device))
    model.to(device)
    plain = [p for n, p in model.named_parameters() if p.ndim < 2 or n.startswith("embedding.")]
    decayed = [
        p for n, p in model.named_parameters() if p.ndim >= 2 and not n.startswith("embedding.")
    ]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    averaged = [torch.zeros_like(p) for p in model.parameters()]
    return _Run(model, optimiser, generator, averaged)


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
    )


def _average(run: _Run, recipe: Recipe) -> None:
    if run.step <= recipe.num_steps * (1 - recipe.averaged_share):
        return
    run.num_averaged += 1
    with torch.no_grad():
        for mean, weight in zip(run.averaged, run.model.parameters(), strict=True):
            mean.add_((weight - mean) / run.num_averaged)


def _finished(run: _Run) -> Jepa:
    if run.num_averaged:
        with torch.no_grad():
            for mean, weight in zip(run.averaged, run.model.parameters(), strict=True):
                weight.copy_(mean)
    return run.model.eval()


def _save(run: _Run, path: Path) -> None:
    names = [name for name, _ in run.model.named_parameters()]
    tensors = {f"model.{k}": v.contiguous() for k, v in run.model.state_dict().items()}
    for name, weight, mean in zip(names, run.model.parameters(), run.averaged, strict=True):
        tensors[f"average.{name}"] = mean
        for key, value in run.optimiser.state[weight].items():
            tensors[f"optimiser.{name}.{key}"] = value
    tensors["generator"] = run.generator.get_state()
    tensors["counts"] = torch.tensor([run.step, run.num_averaged])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({k: v.cpu() for k, v in tensors.items()}, partial)
    partial.replace(path)


def _restore(run: _Run, path: Path) -> None:
    tensors = load_file(path)
    run.model.load_state_dict(
        {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    )
    for place, (name, weight) in enumerate(run.model.named_parameters()):
        run.averaged[place] = tensors[f"average.{name}"].to(weight.device)
        prefix = f"optimiser.{name}."
        run.optimiser.state[weight] = {
            key.removeprefix(prefix): value if key.endswith(".step") else value.to(weight.device)
            for key, value in tensors.items()
            if key.startswith(prefix)
        }
    run.generator.set_state(tensors["generator"])
    run.step, run.num_averaged = (int(n) for n in tensors["counts"])
