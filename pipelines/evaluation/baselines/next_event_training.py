"""Trains the next-event transformer on the same lessons, for the same number of steps, in the same way.

AdamW with the recipe's schedule and clipping; every event of every patient of a lesson is a target.
"""

from collections.abc import Callable

import torch
from torch import nn

from clinical.worldmodel.randomness import initialise, seed_dropout
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.evaluation.baselines.next_event import NextEvent, NextEventConfig
from pipelines.training.lessons import Lessons
from pipelines.training.recipes import Recipe
from pipelines.training.train import Progress, on, schedule


def train_next_event(
    recipe: Recipe,
    lessons: Lessons,
    vocabulary: Vocabulary,
    config: NextEventConfig,
    *,
    device: str = "cpu",
    watch: Callable[[Progress], None] = lambda _: None,
) -> NextEvent:
    """The trained transformer, on the CPU: `recipe` says the steps, the learning rate and the seed.

    It learns to continue the whole record of each patient in a lesson. `watch` is told the losses.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    model = NextEvent(config, vocabulary)
    initialise(model, generator)
    seed_dropout(model, generator if device == "cpu" else on(generator, device))
    model.to(device).train()
    plain = [w for n, w in model.named_parameters() if w.ndim < 2 or "token" in n or "waited" in n]
    decayed = [w for w in model.parameters() if all(w is not other for other in plain)]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    for step in range(recipe.num_steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * schedule(step, recipe)
        parts = model.loss(lessons(generator).future.to(device))
        optimiser.zero_grad(set_to_none=True)
        parts["total"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), recipe.max_gradient_norm)
        optimiser.step()
        losses = {name: float(part.detach()) for name, part in parts.items()}
        watch(Progress(step + 1, recipe.num_steps, losses))
    return model.to("cpu").eval()
