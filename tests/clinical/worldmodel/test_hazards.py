"""Hazards that compete with death: exact integrals, bounded sums, and found again in what they made."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.families import FORETOLD
from clinical.worldmodel.hazards import (
    AT_ONCE,
    DEATH,
    Hazards,
    bins_of,
    first_happening_loss,
)

BINS = torch.tensor(bins_of(ModelConfig()), dtype=torch.float64)
NUM = len(FORETOLD)
REACH = 365.0


def drawn(seed: int, scale: float = 0.01, num: int = 1) -> Hazards:
    generator = torch.Generator().manual_seed(seed)
    luck = torch.rand(num, len(BINS), 1, NUM, generator=generator, dtype=torch.float64)
    at_once = torch.rand(num, 1, NUM, generator=generator, dtype=torch.float64)
    return Hazards(BINS, at_once * scale * 10, -luck.log() * scale)


def windows(*bounds: tuple[float, float]) -> torch.Tensor:
    return torch.tensor([bounds], dtype=torch.float64)


def test_bins_are_log_spaced_from_one_unit_of_the_clock_to_the_reach():
    days = np.array(bins_of(ModelConfig()))
    assert days[0, 0] == 0
    assert days[-1, 1] == REACH
    assert (days[1:, 0] == days[:-1, 1]).all()
    assert days[0, 1] == 1
    steps = np.diff(np.log(days[:, 1]))
    assert np.allclose(steps, steps[0])
    hours = ModelConfig(clock_days=1 / 24, windows_days=((0.0, 0.25), (0.25, 1.0)))
    assert np.isclose(bins_of(hours)[0][1], 1 / 24)
    assert bins_of(hours)[-1][1] == 1.0
    short = ModelConfig(windows_days=((0.0, 0.5),))
    assert 0 < bins_of(short)[0][1] < bins_of(short)[-1][1] == 0.5


@pytest.mark.parametrize(("start", "end"), [(0.0, 365.0), (0.0, 0.3), (0.0, 44.4), (12.5, 200.0)])
def test_the_incidence_is_the_integral_that_it_is_said_to_be(start: float, end: float):
    """Against a sum over half a million slices of time, written without the code's formula."""
    hazards = drawn(3)
    said = hazards.incidence(windows((start, end)))[0, 0, 0].numpy()
    edges = np.linspace(start, end, 500_001)
    middle, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    place = np.searchsorted(BINS[:, 1].numpy(), middle)
    rates = hazards.rates[0, :, 0].numpy()[place]
    jump = hazards.at_once[0, 0].numpy()
    slices = np.linspace(0, start, 500_001)
    before = np.searchsorted(BINS[:, 1].numpy(), (slices[1:] + slices[:-1]) / 2)
    to_start = hazards.rates[0, :, 0].numpy()[before][:, DEATH].mean() * start
    for family in range(NUM):
        rival = np.zeros_like(middle) if family == DEATH else rates[:, DEATH]
        both = rates[:, family] + rival
        alive = np.exp(-(np.cumsum(both) - both / 2) * width)
        found = (rates[:, family] * alive).sum() * width
        if start == 0:
            jump_rival = 0.0 if family == DEATH else jump[DEATH]
            total = jump[family] + jump_rival
            found = found * np.exp(-total) + jump[family] / total * (1 - np.exp(-total))
        else:
            found *= np.exp(-to_start - jump[DEATH])
        assert said[family] == pytest.approx(found, rel=2e-5)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    scale=st.floats(1e-6, 5.0),
    times=st.lists(st.floats(0.001, REACH), min_size=2, max_size=6, unique=True),
)
def test_incidence_never_falls_with_time_and_with_death_first_never_exceeds_one(
    seed: int, scale: float, times: list[float]
):
    hazards, times = drawn(seed, scale), sorted(times)
    grown = windows(*((0.0, t) for t in times))
    incidence, death_first = hazards.incidence(grown)[0, :, 0], hazards.death_first(grown)[0, :, 0]
    assert (incidence >= 0).all()
    assert (incidence.diff(dim=0) >= -1e-12).all()
    assert (death_first.diff(dim=0) >= -1e-12).all()
    others = [f for f in range(NUM) if f != DEATH]
    assert ((incidence + death_first)[:, others] <= 1 + 1e-9).all()
    assert (incidence[:, DEATH] <= 1).all()
    # A window that starts later, within another, is never likelier.
    late = windows(*((s, times[-1]) for s in [0.0, *times[:-1]]))
    assert (hazards.incidence(late)[0, :, 0].diff(dim=0) <= 1e-12).all()


def test_what_is_asked_beside_a_window_changes_no_bit():
    hazards = drawn(5, num=3)
    alone = torch.tensor([[[3.0, 77.0]]] * 3, dtype=torch.float64)
    beside = torch.cat([torch.tensor([[[0.0, 9.0]]] * 3, dtype=torch.float64), alone], dim=1)
    assert torch.equal(hazards.incidence(beside)[:, 1:], hazards.incidence(alone))


def simulated(
    hazards: Hazards, num: int, seed: int, followed_days: float = 700.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """First times by inversion of the cumulative hazard, and how long each patient is followed."""
    generator = torch.Generator().manual_seed(seed)
    mass = torch.cat(
        [hazards.at_once[0, 0][None], hazards.rates[0, :, 0] * BINS.diff(dim=1)]
    ).cumsum(0)
    needed = -torch.rand(num, NUM, generator=generator, dtype=torch.float64).log()
    first = torch.full((num, NUM), math.inf, dtype=torch.float64)
    for family in range(NUM):
        place = torch.searchsorted(mass[:, family].contiguous(), needed[:, family].contiguous())
        inside = (place > 0) & (place < len(mass))
        at = place[inside] - 1
        rest = needed[inside, family] - mass[at, family]
        first[inside, family] = BINS[at, 0] + rest / hazards.rates[0, at, 0, family]
        first[place == 0, family] = AT_ONCE / 2
    luck = torch.rand(num, generator=generator, dtype=torch.float64)
    followed = followed_days * luck.clamp(min=1e-9)
    died = torch.isfinite(first[:, DEATH]) & (first[:, DEATH] <= followed)
    first = torch.where(first > followed[:, None], math.inf, first)
    gone = first > first[:, DEATH : DEATH + 1]
    first = torch.where(gone, math.inf, first)
    return first, torch.where(died, math.inf, followed)


def test_the_likelihood_finds_the_hazards_that_made_the_data():
    """8,000 simulated patients, a third of them censored within the year, many dying."""
    truth = drawn(8, 0.004)
    first, followed = simulated(truth, 8_000, seed=1)
    logs = torch.full((len(BINS) + 1, NUM), -6.0, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logs], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        rates = logs.exp().expand(len(first), -1, -1)
        found = Hazards(BINS, rates[:, :1], rates[:, 1:, None])
        total = first_happening_loss(found, first, followed).mean()
        total.backward()
        return total

    optimiser.step(loss)  # type: ignore[arg-type]
    rates = logs.detach().exp()
    wanted = torch.cat([truth.at_once[0], truth.rates[0, :, 0]])
    exposure = 8_000 * 0.4 * torch.cat([torch.ones(1), BINS.diff(dim=1)[:, 0]])[:, None]
    # Within four standard errors of a rate estimated from about so many happenings.
    allowed = 4 * wanted / (wanted * exposure).sqrt().clamp(min=1.0) + 0.02 * wanted
    assert ((rates - wanted).abs() < allowed).all()
    fitted = Hazards(BINS, rates[:1][None], rates[1:][None, :, None])
    asked = windows((0.0, 7.0), (0.0, 90.0), (0.0, 365.0))
    torch.testing.assert_close(fitted.incidence(asked), truth.incidence(asked), atol=0.02, rtol=0.0)


def test_the_incidence_is_the_share_of_those_to_whom_it_happened():
    """40,000 simulated patients, all followed for ever: who had it by then, and before death."""
    truth = drawn(8, 0.004)
    first, _ = simulated(truth, 40_000, seed=2, followed_days=math.inf)
    asked = windows((0.0, 0.9), (0.0, 7.0), (0.0, 90.0), (0.0, 365.0))
    share = (first[:, None] <= asked[0, :, 1:]).double().mean(0)
    torch.testing.assert_close(truth.incidence(asked)[0, :, 0], share, atol=0.01, rtol=0.0)


def test_the_loss_is_the_likelihood_of_the_textbook():
    """One bin of rate r: -log r + r t for what happened at t, r c for what had not by c."""
    bins = torch.tensor([[0.0, 100.0]], dtype=torch.float64)
    rates = torch.full((1, 1, 1, NUM), 0.02, dtype=torch.float64)
    at_once = torch.full((1, 1, NUM), 0.1, dtype=torch.float64)
    hazards = Hazards(bins, at_once, rates)

    def said(first: float, followed: float, death: float = math.inf) -> float:
        times = torch.full((1, NUM), math.inf, dtype=torch.float64)
        times[0, 0], times[0, DEATH] = first, death
        until = torch.tensor([followed], dtype=torch.float64)
        return float(first_happening_loss(hazards, times, until)[0, 0, 0])

    assert said(10.0, 50.0) == pytest.approx(-math.log(0.02) + 0.2 + 0.1)
    assert said(math.inf, 50.0) == pytest.approx(1.0 + 0.1)
    assert said(math.inf, 5000.0) == pytest.approx(2.0 + 0.1)  # censored where the bins end
    assert said(60.0, 50.0) == pytest.approx(1.0 + 0.1)  # beyond what was followed
    assert said(math.inf, math.inf, death=30.0) == pytest.approx(0.6 + 0.1)  # death censors
    assert said(0.01, 50.0) == pytest.approx(-math.log(1 - math.exp(-0.1)))
    assert said(math.inf, 0.01) == 0  # followed for less than "at once"
