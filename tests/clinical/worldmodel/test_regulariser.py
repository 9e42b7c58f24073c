"""The regularisers against their definitions written out, their values by chance, and what moves them."""

import math

import pytest
import torch

from clinical.worldmodel.config import LossConfig, Regulariser
from clinical.worldmodel.ranks import ALONE
from clinical.worldmodel.regulariser import (
    Spread,
    covariance_term,
    directions,
    sigreg,
    sigreg_null,
    subspace_directions,
    subspaces,
    variance_term,
)

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


def rotation(width: int) -> torch.Tensor:
    return torch.linalg.qr(drawn(width, width, seed=9))[0]


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


def test_sigreg_does_not_change_when_latents_and_directions_turn_together():
    latents, turn = drawn(60, 8) * 1.4, rotation(8)
    turned = sigreg(latents @ turn, turn.T @ lines(8), CONFIG)
    torch.testing.assert_close(turned, sigreg(latents, lines(8), CONFIG), atol=1e-5, rtol=1e-5)


def test_sigreg_does_not_know_the_order_of_rows_nor_a_reflection():
    latents = drawn(60, 8) + 0.5
    found = sigreg(latents, lines(8), CONFIG)
    shuffled = latents[torch.randperm(60, generator=torch.Generator().manual_seed(2))]
    torch.testing.assert_close(sigreg(shuffled, lines(8), CONFIG), found, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sigreg(-latents, lines(8), CONFIG), found, atol=1e-5, rtol=1e-5)


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


def test_sigreg_of_repeated_rows_is_higher_in_proportion():
    """Why rows must not be several windows of one patient: `m` copies of a sample weigh `m` times."""
    latents = drawn(64, 8)
    once, thrice = sigreg(latents, lines(8), CONFIG), sigreg(latents.repeat(3, 1), lines(8), CONFIG)
    torch.testing.assert_close(thrice, 3 * once, atol=1e-4, rtol=1e-4)


def test_amid_autocast_sigreg_and_vicreg_keep_every_bit():
    latents = drawn(64, 8)
    plain = (sigreg(latents, lines(8), CONFIG), variance_term(latents), covariance_term(latents))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = (sigreg(latents, lines(8), CONFIG), variance_term(latents), covariance_term(latents))
    assert all(torch.equal(one, other) for one, other in zip(plain, cast, strict=True))


def test_directions_have_length_one_and_come_from_their_generator():
    assert torch.allclose(lines(9).norm(dim=0), torch.ones(40))
    assert torch.equal(lines(9), lines(9))


def test_subspaces_are_orthonormal_and_of_the_dimension_asked():
    bases = subspaces(12, LossConfig(num_subspaces=3, subspace_width=5), torch.Generator())
    assert bases.shape == (3, 12, 5)
    torch.testing.assert_close(
        bases.mT @ bases, torch.eye(5).expand(3, -1, -1), atol=1e-5, rtol=1e-5
    )


def test_subspaces_that_fill_the_space_are_a_rotation_of_it():
    config = LossConfig(num_subspaces=4, subspace_width=3, num_directions=11)
    bases = subspaces(12, config, torch.Generator().manual_seed(5))
    turn = bases.transpose(0, 1).flatten(1)
    torch.testing.assert_close(turn.T @ turn, torch.eye(12), atol=1e-5, rtol=1e-5)
    latents, inside = drawn(80, 12) * 1.3, lines(3, config)
    each = [sigreg(part, inside, config) for part in (latents @ turn).split(3, dim=1)]
    along = subspace_directions(bases, inside)
    torch.testing.assert_close(
        sigreg(latents, along, config), torch.stack(each).mean(), atol=1e-5, rtol=1e-5
    )


def test_sigreg_inside_a_subspace_is_sigreg_along_its_directions():
    config = LossConfig(num_subspaces=3, subspace_width=5, num_directions=11)
    bases = subspaces(12, config, torch.Generator())
    inside, latents = lines(5, config), drawn(80, 12) * 1.3
    each = [sigreg(latents @ basis, inside, config) for basis in bases]
    along = subspace_directions(bases, inside)
    assert along.shape == (12, 33)
    torch.testing.assert_close(
        sigreg(latents, along, config), torch.stack(each).mean(), atol=1e-5, rtol=1e-5
    )


def test_a_subspace_that_is_the_whole_space_is_sigreg_turned():
    config = LossConfig(num_subspaces=1, subspace_width=99, num_directions=11)
    (basis,) = subspaces(6, config, torch.Generator())
    latents, inside = drawn(70, 6) * 0.7, lines(6, config)
    torch.testing.assert_close(
        sigreg(latents, subspace_directions(basis[None], inside), config),
        sigreg(latents @ basis, inside, config),
        atol=1e-5,
        rtol=1e-5,
    )


def test_subspaces_point_everywhere_alike():
    """The mean projector onto a uniform `d` of `L` dimensions is `d / L` times the identity."""
    bases = subspaces(6, LossConfig(num_subspaces=4000, subspace_width=2), torch.Generator())
    mean = (bases @ bases.mT).mean(0)
    torch.testing.assert_close(mean, torch.eye(6) * 2 / 6, atol=0.03, rtol=0)


def test_vicreg_is_its_terms_written_out():
    latents = torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.2, 1.0], [2.0, 0.1, 6.0]])
    by_hand = torch.cov(latents.T)
    hinge = [max(0.0, 1 - math.sqrt(float(by_hand[j, j]) + 1e-4)) for j in range(3)]
    apart = [float(by_hand[i, j]) ** 2 for i in range(3) for j in range(3) if i != j]
    assert float(variance_term(latents)) == pytest.approx(sum(hinge) / 3, rel=1e-5)
    assert float(covariance_term(latents)) == pytest.approx(sum(apart) / 3, rel=1e-5)


def test_vicreg_asks_nothing_of_wide_uncorrelated_latents_and_much_of_a_point():
    wide = torch.tensor([[2.0, 0], [-2, 0], [0, 2], [0, -2]])
    assert float(variance_term(wide)) == 0
    assert float(covariance_term(wide)) == pytest.approx(0, abs=1e-12)
    assert float(variance_term(wide * 0)) == pytest.approx(1 - math.sqrt(1e-4))


@pytest.mark.parametrize("kind", list(Regulariser))
def test_the_configured_regulariser_is_the_one_that_is_computed(kind: Regulariser):
    config = LossConfig(kind=kind, num_directions=7, num_subspaces=2, subspace_width=3)
    latents = drawn(40, 6) * 0.5
    generator = torch.Generator().manual_seed(4)
    found = Spread(6, config, torch.Generator().manual_seed(4))(latents)
    if kind is Regulariser.SIGREG:
        expected = sigreg(latents, directions(6, config, generator), config)
    elif kind is Regulariser.SUBSPACE:
        bases = subspaces(6, config, generator, ALONE)
        along = subspace_directions(bases, directions(3, config, generator))
        expected = sigreg(latents, along, config)
    elif kind is Regulariser.VICREG:
        expected = variance_term(latents) + config.covariance * covariance_term(latents)
    else:
        expected = torch.zeros(())
    assert torch.equal(found, expected)
