"""The losses as mathematics."""

import pytest
import torch

from clinical.worldmodel.objective import (
    Projector,
    first_in_window,
    latent_loss,
    pinball,
)
from clinical.worldmodel.randomness import Dropout, initialise
from clinical.worldmodel.readout import at_least_one_loss, log_odds
from tests.clinical.worldmodel.conftest import SMALL


def drawn(num: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num, width, generator=torch.Generator().manual_seed(seed))


def test_the_latent_loss_counts_each_head_by_how_often_it_drew_the_patient():
    targets = torch.zeros(2, 3)
    predicted = torch.stack([torch.ones(2, 3), 2 * torch.ones(2, 3)], dim=1)
    weights = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    assert float(latent_loss(predicted, targets, weights)) == pytest.approx((1 + 3 * 4) / 4)


def test_pinball_is_least_at_the_quantiles():
    values = drawn(4000, 1).squeeze(1)
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    best = values.quantile(levels).expand(4000, -1)
    least = float(pinball(best, values).mean())
    for shift in (-0.3, 0.3):
        assert float(pinball(best + shift, values).mean()) > least


def test_the_chance_of_at_least_one_fits_its_loss_and_its_log_odds():
    intensity = torch.tensor([0.01, 0.5, 3.0])
    chance = 1 - (-intensity).exp()
    assert torch.allclose(log_odds(intensity).sigmoid(), chance, atol=1e-5)
    assert torch.allclose(at_least_one_loss(intensity, torch.ones(3)), -chance.log(), atol=1e-5)
    assert torch.allclose(at_least_one_loss(intensity, torch.zeros(3)), intensity)


def test_the_first_value_of_each_series_in_each_window_is_found():
    window = torch.tensor([0, 0, 0, 1, 1])
    series = torch.tensor([1, 1, 0, 1, 1])
    cells, first = first_in_window(window, series, 2, 2)
    assert cells.tolist() == [0, 1, 3]
    assert first.tolist() == [2, 0, 3]


def test_targets_and_predictions_are_projected_by_one_map():
    projector = Projector(SMALL)
    initialise(projector, torch.Generator().manual_seed(0))
    latents = drawn(32, SMALL.latent)
    for is_training in (True, False):
        projector.train(is_training)
        one, other = projector(latents, latents)
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        _, narrow = projector(latents, latents * 0.1)
        assert narrow.std() < other.std()


def test_dropout_draws_from_its_own_generator_and_keeps_the_mean():
    dropout = Dropout(0.25).train()
    numbers = torch.ones(20_000)
    dropout.generator = torch.Generator().manual_seed(4)
    first = dropout(numbers)
    dropout.generator = torch.Generator().manual_seed(4)
    torch.rand(10)  # the process-wide generator moves; ours does not
    assert torch.equal(dropout(numbers), first)
    assert float(first.mean()) == pytest.approx(1, abs=0.02)
    assert torch.equal(dropout.eval()(numbers), numbers)
