"""Searching for plans: against the truth by enumeration, under constraints, from a seed."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clinical.worldmodel.search import (
    Choices,
    Doses,
    NoAllowedPlanError,
    UnusableEnergyError,
    beam,
    cem,
    enumerate_all,
    mppi,
)

SEEDS = st.integers(0, 2**31 - 1)


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _additive(sizes: tuple[int, ...], seed: int) -> "TableCost":
    return TableCost(
        [torch.randn(size, generator=_seeded(seed + n)) for n, size in enumerate(sizes)]
    )


class TableCost:
    """A sum over slots, plus a reward for neighbours that hold the same choice."""

    def __init__(self, tables: list[Tensor], coupling: float = 0.0) -> None:
        self.tables, self.coupling, self.asked = tables, coupling, 0

    def __call__(self, plans: Tensor) -> Tensor:
        self.asked += len(plans)
        parts = [table[plans[:, slot]] for slot, table in enumerate(self.tables)]
        alike = (plans[:, 1:] == plans[:, :-1]).float().sum(1)
        return torch.stack(parts).sum(0) - self.coupling * alike


@given(SEEDS)
def test_beam_is_exact_where_the_energy_is_a_sum_over_slots(seed: int) -> None:
    """A beam of one suffices: no decision changes what another is worth."""
    choices = Choices(sizes=(4, 3, 5, 2))
    cost = _additive(choices.sizes, seed)
    assert torch.equal(beam(cost, choices, width=1).best, enumerate_all(cost, choices).best)


@given(SEEDS)
def test_beam_as_wide_as_the_space_is_exact_whatever_the_energy(seed: int) -> None:
    """Nothing is pruned, so the best of all plans is found."""
    choices = Choices(sizes=(3, 3, 3))
    energies = torch.randn(27, generator=_seeded(seed))

    def cost(plans: Tensor) -> Tensor:
        return energies[plans @ torch.tensor([9, 3, 1])]

    truth = enumerate_all(cost, choices)
    assert torch.equal(beam(cost, choices, width=27).best, truth.best)
    assert truth.energies[0] == energies.double().min()


@pytest.mark.parametrize("seed", range(5))
def test_cem_finds_the_best_combination_among_thousands(seed: int) -> None:
    """Slots that depend on each other, 3840 plans, at most 6 x 256 of them asked."""
    choices = Choices(sizes=(4, 3, 5, 4, 4, 4))
    tables = [
        torch.randn(size, generator=_seeded(seed * 10 + n)) for n, size in enumerate(choices.sizes)
    ]
    cost = TableCost(tables, coupling=0.5)
    found = cem(cost, choices, _seeded(seed))
    assert cost.asked <= 6 * 256 + 1
    assert found.energies[0] == enumerate_all(cost, choices).energies[0]


@pytest.mark.parametrize("seed", range(5))
def test_mppi_finds_the_optimum_of_a_quadratic_also_at_a_bound(seed: int) -> None:
    """Three doses, coupled; the third wants more than is allowed and gets the most that is."""
    target = torch.tensor([0.3, 0.8, 1.7]).double()

    def cost(plans: Tensor) -> Tensor:
        off = plans - target
        return off.square().sum(1) + 0.3 * off[:, 0] * off[:, 1]

    found = mppi(cost, Doses(low=(0.0,) * 3, high=(1.0,) * 3), _seeded(seed))
    assert torch.allclose(found.best, torch.tensor([0.3, 0.8, 1.0]).double(), atol=0.02)
    assert found.plans.ge(0).all()
    assert found.plans.le(1).all()


def test_mppi_does_not_care_for_the_scale_of_the_energies() -> None:
    """A power of two changes no digit, so it changes no plan."""

    def cost(plans: Tensor) -> Tensor:
        return (plans - 0.4).square().sum(1)

    doses = Doses(low=(0.0, 0.0), high=(1.0, 1.0))
    once = mppi(cost, doses, _seeded(), num_rounds=3)
    scaled = mppi(lambda plans: 1024 * cost(plans), doses, _seeded(), num_rounds=3)
    assert torch.equal(once.plans, scaled.plans)


def _no_more_than_two(plans: Tensor) -> Tensor:
    return plans.gt(0).sum(1) <= 2


def test_what_is_forbidden_is_never_put_to_the_cost() -> None:
    """Constraints are filters, not penalties: the cost would fail on a forbidden plan."""
    choices = Choices(sizes=(3,) * 5, is_allowed=_no_more_than_two, proposals=((1, 1, 1, 1, 1),))

    def cost(plans: Tensor) -> Tensor:
        assert _no_more_than_two(plans).all()
        return -plans.sum(1).double()  # the more the better, were it allowed

    truth = enumerate_all(cost, choices)
    assert truth.energies[0] == -4
    assert beam(cost, choices, width=40).energies[0] == -4
    assert cem(cost, choices, _seeded()).energies[0] == -4


def test_forbidden_doses_are_never_put_to_the_cost() -> None:
    """The best allowed plan lies on the edge of what is allowed."""

    def allowed(plans: Tensor) -> Tensor:
        return plans.sum(1) <= 1

    def cost(plans: Tensor) -> Tensor:
        assert allowed(plans).all()
        return -plans.sum(1)

    found = mppi(cost, Doses(low=(0.0,) * 3, high=(1.0,) * 3, is_allowed=allowed), _seeded())
    assert found.energies[0] == pytest.approx(-1, abs=0.03)


def test_the_same_seed_finds_the_same_and_another_draws_others() -> None:
    """Everything random comes from the generator."""
    choices = Choices(sizes=(5,) * 6)
    cost = _additive(choices.sizes, 3)
    first, again, other = (cem(cost, choices, _seeded(seed), num_rounds=2) for seed in (1, 1, 2))
    assert torch.equal(first.plans, again.plans)
    assert torch.equal(first.energies, again.energies)
    assert not torch.equal(first.plans, other.plans)
    doses = Doses(low=(0.0, 0.0), high=(1.0, 1.0))
    drawn = [
        mppi(lambda plans: plans.sum(1), doses, _seeded(seed), num_rounds=2) for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0].plans, drawn[1].plans)
    assert not torch.equal(drawn[0].plans, drawn[2].plans)


@given(SEEDS)
def test_found_is_ranked_and_asks_of_no_plan_twice(seed: int) -> None:
    """Every plan that was tried, each once, the best first."""
    choices = Choices(sizes=(3, 3, 3))
    cost = _additive(choices.sizes, seed)
    found = beam(cost, choices, width=5, num_sweeps=2)
    assert cost.asked == len(found.plans) == len(found.plans.unique(dim=0))
    assert found.energies.diff().ge(0).all()


def test_where_all_plans_are_alike_the_one_of_nothing_wins() -> None:
    """A tie goes to the plan that does less."""
    choices = Choices(sizes=(3, 3), proposals=((2, 1),))
    for found in (
        enumerate_all(lambda p: torch.zeros(len(p)), choices),
        beam(lambda p: torch.zeros(len(p)), choices),
        cem(lambda p: torch.zeros(len(p)), choices, _seeded()),
    ):
        assert found.best.tolist() == [0, 0]


def test_a_proposal_that_no_step_would_reach_is_found() -> None:
    """Two changes that are only worth anything together: a beam of one from nothing misses them."""

    def cost(plans: Tensor) -> Tensor:
        both = (plans == 1).all(1)
        return plans.sum(1).double() - 10 * both.double()

    alone = beam(cost, Choices(sizes=(2, 2, 2)), width=1)
    assert alone.best.tolist() == [0, 0, 0]
    proposed = beam(cost, Choices(sizes=(2, 2, 2), proposals=((1, 1, 1),)), width=1)
    assert proposed.best.tolist() == [1, 1, 1]


def test_enumeration_is_complete() -> None:
    """Every combination once."""
    found = enumerate_all(lambda p: p.sum(1).double(), Choices(sizes=(2, 3, 2)))
    assert sorted(map(tuple, found.plans.tolist())) == list(
        itertools.product(range(2), range(3), range(2))
    )


def test_where_nothing_is_allowed_it_is_said() -> None:
    """Also the plan of no change may be forbidden."""
    never = Choices(sizes=(2,), is_allowed=lambda p: torch.zeros(len(p), dtype=torch.bool))
    for search in (enumerate_all, beam):
        with pytest.raises(NoAllowedPlanError):
            search(lambda p: torch.zeros(len(p)), never)
    doses = Doses(
        low=(0.0,), high=(1.0,), is_allowed=lambda p: torch.zeros(len(p), dtype=torch.bool)
    )
    with pytest.raises(NoAllowedPlanError):
        mppi(lambda p: torch.zeros(len(p)), doses, _seeded())


@pytest.mark.parametrize("answer", [torch.tensor([float("nan")]), torch.zeros(2)])
def test_an_energy_that_is_no_number_ends_the_search(answer: Tensor) -> None:
    """Neither NaN nor a wrong number of energies is ranked."""
    with pytest.raises(UnusableEnergyError):
        beam(lambda _: answer, Choices(sizes=(2,)))
