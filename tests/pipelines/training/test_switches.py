"""Hazards, two steps and variances, switched on together: everything learns, and the loss falls."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clinical.worldmodel import checkpoint
from clinical.worldmodel.calibrated import UNCALIBRATED
from clinical.worldmodel.config import AbstentionLimits
from clinical.worldmodel.families import FORETOLD
from clinical.worldmodel.grounding import Lesson, outcomes
from clinical.worldmodel.hazards import DEATH
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.learning import training_loss
from clinical.worldmodel.randomness import initialise, seed_dropout
from clinical.worldmodel.rollout import asked_later, drawn_stretch
from clinical.worldmodel.tensorize import Tensorizer
from clinical.worldmodel.uncertainty import beta_nll
from pipelines.training.asking import put_questions
from pipelines.training.dataset import Case
from pipelines.training.lessons import CaseLessons
from pipelines.training.recipes import Recipe
from tests.clinical.worldmodel.conftest import SMALL

SWITCHED = replace(SMALL, has_hazards=True, can_compose=True, has_variance=True)


def begun(recipe: Recipe, tensorizer: Tensorizer) -> tuple[Jepa, torch.Generator]:
    generator = torch.Generator().manual_seed(0)
    model = Jepa(recipe.model, tensorizer.vocabulary)
    initialise(model, generator)
    seed_dropout(model, generator)
    return model.train(), generator


def losses(
    model: Jepa, lesson: Lesson, recipe: Recipe, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    tokens = torch.tensor([1, 2])
    return training_loss(
        model,
        lesson,
        tokens[: model.inverse[-1].out_features],
        config=recipe.loss,
        corruption=recipe.corruption,
        generator=generator,
    )


def test_every_part_is_finite_and_every_weight_of_the_switches_learns(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    recipe = replace(tiny, model=SWITCHED)
    model, generator = begun(recipe, tensorizer)
    lesson = CaseLessons(recipe, cases, tensorizer)(generator)
    parts = losses(model, lesson, recipe, generator)
    assert {"variance", "rollout"} <= set(parts)
    assert all(torch.isfinite(part) for part in parts.values())
    parts["total"].backward()
    switched = ("hazard_readout.", "transition.", "predictor.variance.")
    found = {n: p.grad for n, p in model.named_parameters() if n.startswith(switched)}
    assert len(found) == 14
    assert all(g is not None and bool((g != 0).any()) for g in found.values())


def test_the_new_losses_fall(tiny: Recipe, cases: list[Case], tensorizer: Tensorizer):
    recipe = replace(tiny, model=SWITCHED)
    model, generator = begun(recipe, tensorizer)
    lessons = CaseLessons(recipe, cases, tensorizer)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    seen: list[dict[str, float]] = []
    for _ in range(24):
        parts = losses(model, lessons(generator), recipe, generator)
        optimiser.zero_grad()
        parts["total"].backward()
        optimiser.step()
        seen.append({name: float(part.detach()) for name, part in parts.items()})
    for name in ("happened", "rollout", "variance"):
        first, last = (sum(each[name] for each in part) for part in (seen[:6], seen[-6:]))
        assert last < first, name


def test_first_happenings_are_those_of_the_windows(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    """A family happened in some window up to a day exactly if its first time lies before that day."""
    recipe = replace(tiny, model=SWITCHED)
    model, generator = begun(recipe, tensorizer)
    lesson = CaseLessons(recipe, cases, tensorizer)(generator)
    found = outcomes(model, lesson, torch.tensor([1]))
    assert found.first is not None
    ever = found.happened[:, : len(SMALL.windows_days)].cummax(1).values
    ends = torch.tensor([end for _, end in SMALL.windows_days])
    assert torch.equal(found.first[:, None] <= ends[:, None], ever > 0)
    assert 0 < float(ever[..., : len(FORETOLD)].mean()) < 1
    assert not torch.isfinite(found.first[:, DEATH]).all()


def test_the_second_step_is_asked_of_what_follows_the_first(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    recipe = replace(tiny, model=SWITCHED)
    model, generator = begun(recipe, tensorizer)
    lesson = CaseLessons(recipe, cases, tensorizer)(generator)
    luck = torch.linspace(0, 1, len(lesson.row))
    stretch = drawn_stretch(model, lesson, luck)
    assert stretch[0, 0].tolist() == [0, 0]
    assert stretch[-1, 0].tolist() == pytest.approx([0, 365], rel=1e-5)
    later = asked_later(model, lesson, stretch)
    assert later.bounds.shape[1] == len(SMALL.windows_days)
    torch.testing.assert_close(later.day - lesson.day, stretch[:, 0, 1].double())
    finite = torch.isfinite(lesson.followed_days)
    waited = (lesson.followed_days - later.followed_days)[finite]
    torch.testing.assert_close(waited, stretch[finite, 0, 1], atol=1e-2, rtol=1e-4)


def test_the_weighted_likelihood_is_that_of_the_paper():
    """At beta 0 the likelihood, least where the variance is the squared error; at 1 the mean's
    gradient is that of half the squared error, whatever the variance."""
    target, error = torch.tensor(2.0), 0.5
    variances = torch.linspace(0.05, 1.0, 96)
    said = beta_nll((target - error).expand(96), variances, target.expand(96), 0.0)
    assert float(variances[said.argmin()]) == pytest.approx(error**2, abs=0.01)
    for variance in (0.1, 3.0):
        mean = torch.tensor(1.5, requires_grad=True)
        beta_nll(mean, torch.tensor(variance), target, 1.0).backward()
        assert float(mean.grad) == pytest.approx(-error)  # type: ignore[arg-type]


def test_a_switched_model_is_asked_saved_and_loaded_with_the_same_bits(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer, tmp_path: Path
):
    recipe = replace(tiny, model=SWITCHED)
    model, _ = begun(recipe, tensorizer)
    # As it is served: torch takes other kernels, with other last bits, for weights that want gradients.
    model.eval().requires_grad_(requires_grad=False)
    asked = put_questions(model, tensorizer, cases[:2], per_patient=2, seed=0)
    assert all(math.isfinite(a.log_odds) for each in asked for a in each.risks.values())
    made = checkpoint.Checkpoint(
        name="t",
        version="1",
        model=model,
        vocabulary=tensorizer.vocabulary,
        calibration=UNCALIBRATED,
        limits=AbstentionLimits(max_unseen_code_share=1.0),
        data_digest="0" * 64,
        training={},
    )
    checkpoint.save(tmp_path, made)
    loaded = checkpoint.load(tmp_path)
    assert loaded.model.config == SWITCHED
    again = put_questions(loaded.model, tensorizer, cases[:2], per_patient=2, seed=0)
    said = [[(a.state, a.spread, a.risks, a.values) for a in each] for each in (asked, again)]
    assert said[0] == said[1]
