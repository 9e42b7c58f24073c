"""Every switch of the objective trains, does what it says, and leaves the others alone."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from clinical.worldmodel.config import Regulariser, Target, Teacher
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.learning import Corruption, training_loss
from clinical.worldmodel.randomness import initialise, seed_dropout
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training.dataset import Case
from pipelines.training.lessons import CaseLessons
from pipelines.training.recipes import Recipe
from pipelines.training.train import action_tokens


def losses(
    recipe: Recipe, cases: list[Case], tensorizer: Tensorizer
) -> tuple[Jepa, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    model = Jepa(recipe.model, tensorizer.vocabulary)
    initialise(model, generator)
    seed_dropout(model, generator)
    model.train()
    lesson = CaseLessons(recipe, cases, tensorizer)(torch.Generator().manual_seed(1))
    parts = training_loss(
        model,
        lesson,
        action_tokens(tensorizer.vocabulary),
        config=recipe.loss,
        corruption=recipe.corruption,
        generator=torch.Generator().manual_seed(2),
    )
    return model, parts


@pytest.mark.parametrize(
    ("model_fields", "loss_fields"),
    [
        ({"target": Target.STATE}, {}),
        ({"target": Target.BOTH}, {}),
        ({"teacher": Teacher.EMA}, {"kind": Regulariser.NONE}),
        ({"teacher": Teacher.EMA, "target": Target.BOTH}, {}),
        ({"weighs_horizons": True}, {}),
        ({"compared_width": 5}, {}),
        ({}, {"kind": Regulariser.SUBSPACE, "num_subspaces": 2, "subspace_width": 4}),
        ({}, {"kind": Regulariser.VICREG}),
        ({}, {"is_by_horizon": True, "min_horizon_rows": 4}),
        ({}, {"is_one_per_patient": True}),
    ],
    ids=str,
)
def test_every_switch_gives_finite_losses_and_gradients(
    tiny: Recipe,
    cases: list[Case],
    tensorizer: Tensorizer,
    model_fields: dict[str, Any],
    loss_fields: dict[str, Any],
):
    recipe = replace(
        tiny,
        model=replace(tiny.model, **model_fields),
        loss=replace(tiny.loss, **loss_fields),
    )
    model, parts = losses(recipe, cases, tensorizer)
    parts["total"].backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(part) for part in parts.values())
    gradients = [w.grad for w in model.parameters() if w.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_an_ema_target_sends_no_gradient_into_the_window_encoder(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    loss = replace(tiny.loss, kind=Regulariser.NONE)
    for teacher, is_taught in ((Teacher.ONLINE, True), (Teacher.EMA, False)):
        recipe = replace(tiny, model=replace(tiny.model, teacher=teacher), loss=loss)
        model, parts = losses(recipe, cases, tensorizer)
        parts["latent"].backward()  # type: ignore[no-untyped-call]
        gradient = model.windows.out.weight.grad
        assert (gradient is not None and bool((gradient.abs() > 1e-6).any())) is is_taught


def test_the_cut_keeps_grounding_from_the_encoder_and_not_from_the_readouts(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    for grounds in (True, False):
        recipe = replace(tiny, loss=replace(tiny.loss, grounds_encoder=grounds))
        model, parts = losses(recipe, cases, tensorizer)
        (parts["values"] + parts["happened"]).backward()
        gradient = model.from_memory.weight.grad
        assert (gradient is not None and bool(gradient.any())) is grounds
        assert any(w.grad is not None and w.grad.any() for w in model.readouts.parameters())


def test_dropping_the_recent_stretch_hides_it_and_draws_nothing_when_off(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    plain = losses(tiny, cases, tensorizer)[1]
    for share in (0.0, 1.0):
        corruption = Corruption(recent=share)
        changed = losses(replace(tiny, corruption=corruption), cases, tensorizer)[1]
        is_same = torch.equal(changed["total"], plain["total"])
        assert is_same is (share == 0.0)


def test_windows_by_count_stand_beside_those_by_the_clock(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    recipe = replace(tiny, counted_windows=(2, 8))
    plain, counted = (
        CaseLessons(one, cases, tensorizer)(torch.Generator().manual_seed(1))
        for one in (tiny, recipe)
    )
    assert torch.equal(counted.bounds[:, : plain.bounds.shape[1]], plain.bounds)
    assert counted.bounds.shape[1] == plain.bounds.shape[1] + 2
    _, parts = losses(recipe, cases, tensorizer)
    assert all(torch.isfinite(part) for part in parts.values())
