"""Searches for the plan of least energy: beam and cross-entropy over choices, MPPI over doses.

Knows plans as rows of numbers and a cost that may be asked of many at once. Does not know patients,
actions, networks or what the energy is made of. A plan that is not allowed is never put to the cost.
Everything random comes from the caller's generator; ties go to the plan that is lexicographically
first, so where choice 0 means "nothing" to the one that does less.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clinical.errors import ClinicalError, RejectedError

ChoiceCost = Callable[[Int[Tensor, "n S"]], Float[Tensor, " n"]]
"""The energy of each of `n` plans of `S` slots, less being better."""
DoseCost = Callable[[Float[Tensor, "n S"]], Float[Tensor, " n"]]
"""As `ChoiceCost`, for plans whose slots hold a dose each."""
Allowed = Callable[[Tensor], Bool[Tensor, " n"]]
"""Which of `n` plans may be considered at all. Of an allowed plan every part must be allowed too."""

_SMOOTHING = 0.1
_MAX_DRAWS = 8


class NoAllowedPlanError(RejectedError):
    """Every plan, also the one of doing nothing, is forbidden by a constraint."""

    code = "worldmodel.no_allowed_plan"


class UnusableEnergyError(ClinicalError):
    """The cost answered with something that is no number, or not once for each plan."""

    code = "worldmodel.unusable_energy"


@dataclass(frozen=True, slots=True)
class Found:
    """Every plan that was tried, the best first, with its energy."""

    plans: Tensor
    energies: Float[Tensor, " n"]

    @property
    def best(self) -> Tensor:
        """The plan of least energy, `[S]`."""
        plan: Tensor = self.plans[0]
        return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What each slot may hold: one of `sizes[s]` choices, 0 being nothing; and which plans may be."""

    sizes: tuple[int, ...]
    is_allowed: Allowed | None = None
    proposals: tuple[tuple[int, ...], ...] = field(default=())
    """Plans from which to start, besides that of doing nothing."""

    def starts(self) -> Int[Tensor, "n S"]:
        """The null plan and the proposals, those that are allowed."""
        rows = [(0,) * len(self.sizes), *self.proposals]
        starts = torch.tensor(rows, dtype=torch.int64)
        kept = self.allowed(starts)
        if not len(kept):
            raise NoAllowedPlanError("no plan at all is allowed, not even that of no change")
        return kept

    def allowed(self, plans: Int[Tensor, "m S"]) -> Int[Tensor, "n S"]:
        """Those of `plans` that may be considered."""
        return plans if self.is_allowed is None else plans[self.is_allowed(plans)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doses:
    """What each slot may hold: a dose within `[low[s], high[s]]`; and which plans may be."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    is_allowed: Allowed | None = None
    proposals: tuple[tuple[float, ...], ...] = field(default=())
    """Plans from which to start, besides that of the lowest doses."""

    def allowed(self, plans: Float[Tensor, "m S"]) -> Float[Tensor, "n S"]:
        """Those of `plans` that may be considered."""
        return plans if self.is_allowed is None else plans[self.is_allowed(plans)]


def enumerate_all(cost: ChoiceCost, choices: Choices) -> Found:
    """Every allowed plan, the best first: for small spaces, and the truth that the others are held to.

    Raises:
        NoAllowedPlanError, UnusableEnergyError
    """
    choices.starts()
    grid = torch.cartesian_prod(*(torch.arange(size) for size in choices.sizes))
    tried = _Tried(cost)
    tried.ask(choices.allowed(grid.reshape(-1, len(choices.sizes))))
    return tried.found()


def beam(cost: ChoiceCost, choices: Choices, *, width: int = 32, num_sweeps: int = 1) -> Found:
    """Decide slot after slot, keeping the `width` best plans; undecided slots stay as proposed.

    Exact where the energy is a sum over slots, and where `width` is the number of all plans. A
    second sweep decides each slot again in the light of the later ones.

    Raises:
        NoAllowedPlanError, UnusableEnergyError
    """
    tried = _Tried(cost)
    kept = choices.starts()
    tried.ask(kept)
    for _ in range(num_sweeps):
        for slot, size in enumerate(choices.sizes):
            grown = kept.repeat_interleave(size, dim=0)
            grown[:, slot] = torch.arange(size).repeat(len(kept))
            kept = tried.ask(choices.allowed(grown))[:width]
    return tried.found()


def cem(
    cost: ChoiceCost,
    choices: Choices,
    generator: torch.Generator,
    *,
    num_samples: int = 256,
    num_rounds: int = 6,
    num_elites: int = 32,
) -> Found:
    """The cross-entropy method over independent categorical slots (Rubinstein & Kroese 2004).

    Each round draws plans, and moves every slot's probabilities to the shares of its choices among
    the best plans of all rounds; a tenth of the old probability stays, so nothing is ever excluded.

    Raises:
        NoAllowedPlanError, UnusableEnergyError
    """
    tried = _Tried(cost)
    elites = tried.ask(choices.starts())
    odds = [torch.ones(size) / size for size in choices.sizes]
    for _ in range(num_rounds):
        drawn = _draw(partial(_from_odds, odds, num_samples, generator), choices, num_samples)
        elites = tried.ask(torch.cat([drawn, elites]))[:num_elites]
        odds = [
            _SMOOTHING * old + (1 - _SMOOTHING) * _shares(elites[:, slot], len(old))
            for slot, old in enumerate(odds)
        ]
    return tried.found()


def mppi(
    cost: DoseCost,
    doses: Doses,
    generator: torch.Generator,
    *,
    num_samples: int = 512,
    num_rounds: int = 6,
    num_elites: int = 64,
    temperature: float = 0.2,
    min_share: float = 0.01,
) -> Found:
    """Model-predictive path integral control (Williams et al. 2017) over bounded doses, with elites.

    Each round draws plans around a mean and moves it to the elites' mean, weighted by
    `exp(-excess / temperature)`, where the excess over the best is counted in units of the elites'
    range: another scale of the energies changes nothing. The spread never falls below `min_share`
    of the range of a dose.

    Raises:
        NoAllowedPlanError, UnusableEnergyError
    """
    low, high = torch.tensor(doses.low).double(), torch.tensor(doses.high).double()
    tried = _Tried(cost)
    starts = torch.tensor([doses.low, *doses.proposals]).double()
    elites = tried.ask(doses.allowed(starts.clamp(low, high)))
    mean = elites[0] if doses.proposals and len(elites) else (low + high) / 2
    spread = (high - low) / 2
    for _ in range(num_rounds):
        drawn = _draw(
            partial(_around, mean, spread, (low, high), num_samples, generator), doses, num_samples
        )
        elites = tried.ask(torch.cat([doses.allowed(mean[None]), drawn, elites]))[:num_elites]
        if not len(elites):
            raise NoAllowedPlanError("no allowed plan was found among those drawn")
        weights = _weights(tried.energies_of(elites), temperature)[:, None]
        mean = (weights * elites).sum(0)
        spread = (weights * (elites - mean).square()).sum(0).sqrt()
        spread = spread.maximum(min_share * (high - low))
    return tried.found()


class _Tried:
    """The plans put to the cost so far; none is put to it twice."""

    def __init__(self, cost: Callable[[Tensor], Tensor]) -> None:
        self._cost = cost
        self._energies: dict[tuple[float, ...], float] = {}
        self._rows: list[Tensor] = []

    def ask(self, plans: Tensor) -> Tensor:
        """The distinct ones of `plans`, the best first."""
        if not len(plans):
            return plans
        plans = torch.unique(plans, dim=0)  # also sorts lexicographically
        fresh = plans[[tuple(row) not in self._energies for row in plans.tolist()]]
        if len(fresh):
            energies = self._cost(fresh)
            if energies.shape != fresh.shape[:1] or bool(energies.isnan().any()):
                raise UnusableEnergyError("the cost did not give a number for each plan")
            self._energies.update(
                zip(map(tuple, fresh.tolist()), energies.double().tolist(), strict=True)
            )
            self._rows.append(fresh)
        order = self.energies_of(plans).argsort(stable=True)
        return plans[order]

    def energies_of(self, plans: Tensor) -> Float[Tensor, " n"]:
        """The energies of plans that were asked."""
        rows = [self._energies[tuple(row)] for row in plans.tolist()]
        return torch.tensor(rows, dtype=torch.float64)

    def found(self) -> Found:
        """All of them, the best first."""
        plans = torch.unique(torch.cat(self._rows), dim=0)
        energies = self.energies_of(plans)
        order = energies.argsort(stable=True)
        return Found(plans[order], energies[order])


def _draw(draw: Callable[[], Tensor], space: Choices | Doses, num: int) -> Tensor:
    """At most `num` allowed plans; where few are allowed, fewer than `num` after several draws."""
    kept = space.allowed(draw())
    for _ in range(_MAX_DRAWS - 1):
        if len(kept) >= num:
            break
        kept = torch.cat([kept, space.allowed(draw())])
    return kept[:num]


def _from_odds(odds: list[Tensor], num: int, generator: torch.Generator) -> Int[Tensor, "n S"]:
    """Each slot for itself, from its own odds (`[c]`)."""
    columns = [torch.multinomial(slot, num, replacement=True, generator=generator) for slot in odds]
    return torch.stack(columns, dim=1)


def _shares(chosen: Int[Tensor, " n"], size: int) -> Float[Tensor, " c"]:
    return torch.bincount(chosen, minlength=size) / len(chosen)


def _around(
    mean: Float[Tensor, " S"],
    spread: Float[Tensor, " S"],
    bounds: tuple[Float[Tensor, " S"], Float[Tensor, " S"]],
    num: int,
    generator: torch.Generator,
) -> Float[Tensor, "n S"]:
    noise = torch.randn(num, len(mean), generator=generator, dtype=torch.float64)
    return (mean + spread * noise).clamp(*bounds)


def _weights(energies: Float[Tensor, " n"], temperature: float) -> Float[Tensor, " n"]:
    excess = energies - energies.min()
    finite = excess[excess.isfinite()]
    scale = finite.max().clamp(min=torch.finfo(torch.float64).tiny)
    return torch.softmax(-excess / (temperature * scale), dim=0)
