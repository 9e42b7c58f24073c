"""The whole network taught an outcome after pretraining, the objective of pretraining kept beside it.

Knows labels of the training patients and no others. Does not know how the outcome is then read from the
state: probes are fitted and calibrated afterwards, as they are to a network that was never taught it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from clinical.worldmodel.grounding import Lesson
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.learning import training_loss
from clinical.worldmodel.randomness import Dropout, initialise, seed_dropout
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training.dataset import Case, lesson_of
from pipelines.training.lessons import Lessons
from pipelines.training.recipes import Recipe
from pipelines.training.setting import Labelled, Setting
from pipelines.training.train import Progress, action_tokens, on, on_device


class LateMean:
    """The mean that weights had over the last `share` of `num_steps` steps (Izmailov et al. 2018)."""

    def __init__(self, weights: Sequence[nn.Parameter], num_steps: int, share: float) -> None:
        self._weights = weights
        self._means = [torch.zeros_like(weight) for weight in weights]
        self._num_taken, self._from = 0, math.floor(num_steps * (1 - share))

    @torch.no_grad()
    def take(self, step: int) -> None:
        """The weights as they are after so many steps."""
        if step <= self._from:
            return
        self._num_taken += 1
        for mean, weight in zip(self._means, self._weights, strict=True):
            mean.add_((weight - mean) / self._num_taken)

    @torch.no_grad()
    def settle(self) -> None:
        """Let the weights be their mean."""
        for mean, weight in zip(self._means, self._weights, strict=True):
            weight.copy_(mean)


def tuning_schedule(share: float) -> float:
    """A short warm-up, then a cosine down to a fifth: late weights are averaged, not only the last."""
    return min(1.0, share / 0.05 + 0.05) * (0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * share)))


class OutcomeLessons:
    """Some patients at a time, each asked at every labelled hour; every patient once an epoch."""

    def __init__(
        self, cases: Sequence[Case], tensorizer: Tensorizer, labelled: Labelled, num: int
    ) -> None:
        self._cases = [case for case in cases if case.timeline.patient_id in labelled.labels]
        self._tensorizer, self._labelled = tensorizer, labelled
        self._num = min(num, len(self._cases))
        self._order = torch.zeros(0, dtype=torch.int64)

    @property
    def steps_an_epoch(self) -> int:
        """Full ones; who is left over comes in another epoch."""
        return max(1, len(self._cases) // self._num)

    def __call__(self, generator: torch.Generator) -> tuple[Lesson, Tensor]:
        """The questions, and what became of each one's patient."""
        if len(self._order) < self._num:
            self._order = torch.randperm(len(self._cases), generator=generator)
        chosen, self._order = self._order[: self._num].tolist(), self._order[self._num :]
        days = self._labelled.days
        asked = [(self._cases[place], day) for place in chosen for day in days]
        bounds = torch.zeros(len(asked), 0, 2)
        lesson = lesson_of(asked, self._tensorizer, bounds, torch.ones(len(asked), 1))
        had = [float(self._labelled.labels[case.timeline.patient_id]) for case, _ in asked]
        return lesson, torch.tensor(had)


def tune(
    model: Jepa,
    cases: Sequence[Case],
    tensorizer: Tensorizer,
    setting: Setting,
    recipe: Recipe,
    device: str,
    watch: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Teach `model`, which is changed; nothing where the recipe or the setting has no outcome."""
    tuning, labelled = recipe.tuning, setting.labelled
    if tuning is None or labelled is None:
        return
    generator = torch.Generator().manual_seed(recipe.seed + 5)
    outcomes = OutcomeLessons(cases, tensorizer, labelled, tuning.patients_per_step)
    few = replace(recipe, patients_per_step=tuning.patients_per_step, lessons_per_step=1)
    ordinary = setting.lessons(few, cases, tensorizer, None)
    head = nn.Sequential(Dropout(tuning.dropout), nn.Linear(model.config.width, 1))
    initialise(head, generator)
    head.to(device)
    for part in (model, head):
        seed_dropout(part, generator if device == "cpu" else on(generator, device))
    weights = [*model.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(weights, weight_decay=recipe.weight_decay, fused=True)
    num_steps = tuning.num_epochs * outcomes.steps_an_epoch
    late = LateMean(weights, num_steps, tuning.averaged_share)
    actions = action_tokens(tensorizer.vocabulary, device)
    model.train()
    for step in range(num_steps):
        for group in optimiser.param_groups:
            group["lr"] = tuning.learning_rate * tuning_schedule(step / num_steps)
        optimiser.zero_grad(set_to_none=True)
        told = _outcome_loss(model, head, outcomes(generator), recipe, device, generator)
        also = _objective(model, ordinary, recipe, actions, device, generator)
        (told + tuning.objective * also).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, recipe.max_gradient_norm)
        optimiser.step()
        late.take(step + 1)
        losses = {"outcome": float(told.detach()), "total": float(also.detach())}
        watch(Progress(step + 1, num_steps, losses))
    late.settle()
    model.eval()


def _outcome_loss(
    model: Jepa,
    head: nn.Module,
    asked: tuple[Lesson, Tensor],
    recipe: Recipe,
    device: str,
    generator: torch.Generator,
) -> Tensor:
    lesson, had = on_device(asked[0], device), asked[1].to(device)
    luck = torch.rand(len(lesson.context.event_concept), generator=generator).to(device)
    encoded = model.encode(lesson.context, is_exact=luck >= recipe.corruption.exact_code)
    reading = model.read(lesson.context, encoded, lesson.row, lesson.day)
    return nn.functional.binary_cross_entropy_with_logits(head(reading.state)[:, 0], had)


def _objective(
    model: Jepa,
    lessons: Lessons,
    recipe: Recipe,
    actions: Tensor,
    device: str,
    generator: torch.Generator,
) -> Tensor:
    parts = training_loss(
        model,
        on_device(lessons(generator), device),
        actions,
        config=recipe.loss,
        corruption=recipe.corruption,
        generator=generator if device == "cpu" else on(generator, device),
    )
    return parts["total"]
