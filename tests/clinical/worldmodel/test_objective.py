"""The losses as mathematics."""

import math

import pytest
import torch

from clinical.worldmodel.config import LossConfig
from clinical.worldmodel.objective import (
    Projector,
    directions,
    first_in_window,
    latent_loss,
    pinball,
    sigreg,
    sigreg_null,
)
from clinical.worldmodel.randomness import Dropout, initialise
from clinical.worldmodel.readout import at_least_one_loss, log_odds
from tests.clinical.worldmodel.conftest import SMALL

CONFIG = LossConfig(num_directions=40)


def slowly(latents: torch.Tensor, along: torch.Tensor, config: LossConfig) -> float:
    """The Epps–Pulley statistic written out in complex numbers, one direction and knot at a time."""
    step = config.knot_limit / (config.num_knots - 1)
    statistics = []
    for direction in along.T:
        projected = (latents @ direction).tolist()
        total = 0.0
        for knot in range(-(config.num_knots - 1), config.num_knots):
            t = knot * step
            seen = sum(complex(math.cos(t * x), math.sin(t * x)) for x in projected) / len(
                projected
            )
            gaussian = math.exp(-(t**2) / 2)
            is_end = abs(knot) == config.num_knots - 1
            total += abs(seen - gaussian) ** 2 * gaussian * step * (0.5 if is_end else 1.0)
        statistics.append(len(projected) * total)
    return sum(statistics) / len(statistics)


def drawn(num: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num, width, generator=torch.Generator().manual_seed(seed))


def lines(width: int, config: LossConfig = CONFIG) -> torch.Tensor:
    return directions(width, config, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_sigreg_is_the_statistic_written_out(scale: float):
    latents, config = drawn(50, 6) * scale + 0.3, LossConfig(num_directions=5)
    along = lines(6, config)
    assert float(sigreg(latents, along, config)) == pytest.approx(
        slowly(latents, along, config), rel=1e-4
    )


@pytest.mark.parametrize("num", [64, 512])
def test_for_gaussian_latents_sigreg_is_its_null_value_whatever_their_number(num: int):
    found = [float(sigreg(drawn(num, 16, seed), lines(16), CONFIG)) for seed in range(40)]
    assert sum(found) / len(found) == pytest.approx(sigreg_null(CONFIG), rel=0.05)


def test_the_null_value_is_the_integral():
    """2 * integral over [0, 3] of (1 - exp(-t²)) exp(-t²/2), in closed form with erf."""
    root = math.sqrt(math.pi / 2)
    exact = 2 * (
        root * math.erf(3 / math.sqrt(2)) - root / math.sqrt(3) * math.erf(3 * math.sqrt(1.5))
    )
    assert sigreg_null(CONFIG) == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(
    "collapse",
    [lambda z: z * 0, lambda z: z * 0.2, lambda z: z[:, :1].expand(-1, 16) * 0.9, lambda z: z + 2],
    ids=["to a point", "to a small ball", "to a line", "away from the origin"],
)
def test_sigreg_rises_when_latents_collapse_or_drift(collapse: object):
    gaussian = drawn(256, 16)
    assert callable(collapse)
    spoiled = float(sigreg(collapse(gaussian), lines(16), CONFIG))
    assert spoiled > 3 * float(sigreg(gaussian, lines(16), CONFIG))


def test_the_gradient_of_sigreg_spreads_what_has_collapsed():
    latents = (drawn(128, 8) * 0.1).requires_grad_()
    sigreg(latents, lines(8), CONFIG).backward()
    assert latents.grad is not None
    assert float((latents.grad * latents.detach()).sum()) < 0


def test_directions_have_length_one_and_come_from_their_generator():
    assert torch.allclose(lines(9).norm(dim=0), torch.ones(40))
    assert torch.equal(lines(9), lines(9))


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
