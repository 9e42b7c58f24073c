"""When things first happen: hazards that compete with death, and what they say of any window.

Knows rates per stretch of time as mathematics, and how they are read from latents. Does not know
how the latents came to be, nor calibration.

Every family competes with death alone: an admission does not end the risk of a diagnosis. The
hazards are constant within bins (Prentice et al. 1978, cause-specific hazards), so that every
integral here is exact.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.families import FORETOLD
from clinical.worldmodel.shapes import DAYS_PER_YEAR
from clinical.worldmodel.statistics import NUM_FEATURES
from clinical.worldmodel.targets import NUM_WINDOW_FEATURES, window_features

DEATH = FORETOLD.index("Death")
AT_ONCE = 1 / 24
"""Of a unit of the model's clock: what follows within it comes with the question's own bundle."""
_TINY = 1e-12


def bins_of(config: ModelConfig) -> tuple[tuple[float, float], ...]:
    """The bins in days, one after the other from 0 to the trained reach, each longer than the last.

    Edges are spaced evenly on a logarithmic scale from one unit of the clock (or the reach divided
    by the number of bins, where that is less) to the reach.
    """
    reach, num = config.windows_days[-1][1] / config.clock_days, config.num_hazard_bins
    first = min(1.0, reach / num)
    ends = [first * (reach / first) ** (place / max(1, num - 1)) for place in range(num)]
    ends = [end * config.clock_days for end in ends[:-1]] + [config.windows_days[-1][1]]
    return tuple(zip([0.0, *ends[:-1]], ends, strict=True))


@dataclass(frozen=True, slots=True)
class Hazards:
    """A rate per day in each bin, and the hurdle: the cumulative hazard of what follows at once."""

    bins: Float[Tensor, "b 2"]  # days after the question, without gaps from 0 on
    at_once: Float[Tensor, "Q K F"]
    rates: Float[Tensor, "Q b K F"]
    clock_days: float = 1.0

    def incidence(self, bounds: Float[Tensor, "Q H 2"]) -> Float[Tensor, "Q H K F"]:
        """The chance of at least one happening in `(start, end]`, before death; float64.

        For a window that starts with the question this is the cumulative incidence
        `∫ λ(u) exp(-Λ(u) - Λ_death(u)) du`. For a later one it is that of a patient of whom only
        survival to its start is known, for what has happened once can happen again. It never falls
        when the window is widened; with death first it sums to at most 1. For death itself it is
        the fall of the survival curve. Windows must end within the bins.
        """
        own = self._mass(bounds)
        death = own[..., DEATH : DEATH + 1]
        rival = torch.cat([death] * own.shape[-1], dim=-1)
        rival[..., DEATH] = 0.0
        return self._survival(bounds)[..., None] * competing(own, rival)

    def death_first(self, bounds: Float[Tensor, "Q H 2"]) -> Float[Tensor, "Q H K F"]:
        """The chance of dying in the window before the first happening in it; float64."""
        own = self._mass(bounds)
        death = own[..., DEATH : DEATH + 1].expand_as(own)
        return self._survival(bounds)[..., None] * competing(death, own)

    def intensity(self, bounds: Float[Tensor, "Q H 2"]) -> Float[Tensor, "Q H K F"]:
        """`-log(1 - incidence)`: the expected number of happenings that would be as likely; float32."""
        return -torch.log1p(-self.incidence(bounds).clamp(_TINY, 1 - 1e-7)).float()

    def of_head(self, head: Tensor) -> "Hazards":
        """Of one head for each question."""
        question = torch.arange(len(head), device=head.device)
        return Hazards(
            self.bins,
            self.at_once[question, head][:, None],
            self.rates[question, :, head][:, :, None],
            self.clock_days,
        )

    def followed_by(self, later: "Hazards") -> "Hazards":
        """These, and where they end the hazards of `later`, counted from there; its hurdle is passed."""
        end = self.bins[-1, 1]
        bins = torch.cat([self.bins, later.bins + end])
        rates = torch.cat([self.rates, later.rates], dim=1)
        return Hazards(bins, self.at_once, rates, self.clock_days)

    def _mass(self, bounds: Float[Tensor, "Q H 2"]) -> Float[Tensor, "Q H b1 K F"]:
        """The cumulative hazard that falls into the window: at once, and of each bin."""
        return torch.cat(
            [
                (self.at_once.double()[:, None] * _starts_now(bounds)[..., None, None])[:, :, None],
                self.rates.double()[:, None] * _covered(self.bins, bounds)[..., None, None],
            ],
            dim=2,
        )

    def _survival(self, bounds: Float[Tensor, "Q H 2"]) -> Float[Tensor, "Q H K"]:
        """The chance of being alive when the window starts."""
        start = bounds[..., 0]
        before = _covered(self.bins, torch.stack([torch.zeros_like(start), start], dim=-1))
        passed = (self.rates[..., DEATH].double()[:, None] * before[..., None]).sum(2)
        at_once = self.at_once[..., DEATH].double()[:, None] * (1 - _starts_now(bounds))[..., None]
        return (-passed - at_once).exp()


def _starts_now(bounds: Float[Tensor, "Q H 2"]) -> Float[Tensor, "Q H"]:
    return (bounds[..., 0] <= 0).double()


def _covered(bins: Float[Tensor, "b 2"], bounds: Float[Tensor, "Q H 2"]) -> Float[Tensor, "Q H b"]:
    """Days of each bin that lie in each window; float64."""
    start, end = bounds.double()[..., None].unbind(-2)
    low, high = bins.double().unbind(-1)
    return (torch.minimum(end, high) - torch.maximum(start, low)).clamp(min=0.0)


def competing(
    own: Float[Tensor, "Q H b K F"], rival: Float[Tensor, "Q H b K F"]
) -> Float[Tensor, "Q H K F"]:
    """The chance that `own` comes first, over stretches (dim 2) with these cumulative hazards.

    In a stretch both run at constant rates: `own` takes its share of whatever ends it. This and the
    same with the two exchanged sum to `1 - exp(-Σ (own + rival))`.
    """
    total = own + rival
    num = total.shape[2]
    # A product, for a running sum of floats has no deterministic kernel on a GPU.
    earlier = torch.ones(num, num, dtype=total.dtype, device=total.device).tril(-1)
    alive = (-torch.einsum("ij,qhjkf->qhikf", earlier, total)).exp()
    share = own * -torch.expm1(-total) / total.clamp(min=_TINY)
    return (share * alive).sum(2).clamp(max=1.0)  # rounding alone could exceed it


def first_happening_loss(
    hazards: Hazards,
    first: Float[Tensor, "Q F"],
    followed: Float[Tensor, " Q"],
) -> Float[Tensor, "Q K F"]:
    """Negative log-likelihood of the first happenings, in days after the question (inf: none).

    Censored where the record ends (`followed`), at death, and at the end of the last bin. What came
    within `AT_ONCE` is known to have come at once, and what was followed for less says nothing.
    """
    reach = hazards.bins[-1, 1]
    until = torch.minimum(first[:, DEATH], torch.minimum(followed, reach))[:, None]
    until = torch.where(_is_death(first), torch.minimum(followed, reach)[:, None], until)
    seen, time = first <= until, torch.minimum(first, until)
    is_past = (time > AT_ONCE * hazards.clock_days)[:, None]
    lasted = torch.minimum(time[..., None], hazards.bins[:, 1]) - hazards.bins[:, 0]
    exposed = lasted.clamp(min=0.0).transpose(1, 2)[:, :, None]  # Q b 1 F
    quiet = hazards.at_once + (hazards.rates * exposed).sum(1)
    place = torch.searchsorted(hazards.bins[:, 1].contiguous(), time.contiguous())
    place = place.clamp(max=len(hazards.bins) - 1)[:, None, None]
    place = place.expand(-1, 1, hazards.rates.shape[2], -1)
    rate = hazards.rates.gather(1, place).squeeze(1)
    later = quiet - seen[:, None] * rate.clamp(min=_TINY).log()
    at_once = -(-torch.expm1(-hazards.at_once.clamp(min=1e-8))).log()
    return torch.where(is_past, later, torch.where(seen[:, None], at_once, torch.zeros_like(later)))


def _is_death(first: Float[Tensor, "Q F"]) -> Tensor:
    return torch.arange(first.shape[1], device=first.device) == DEATH


class HazardReadout(nn.Module):
    """Hazards from one latent per bin: what the bins share has a low rank, each family a vector."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        rank = config.hazard_rank
        self.clock_days = config.clock_days
        self.bins = bins_of(config)
        self.shared = nn.Linear(config.latent + config.width + NUM_WINDOW_FEATURES, rank)
        self.families = nn.Embedding(len(FORETOLD), rank)
        self.hurdles = nn.Embedding(len(FORETOLD), rank)
        self.history = nn.Linear(NUM_FEATURES, rank, bias=False)
        self.levels = nn.Embedding(len(FORETOLD), 2)  # of the rates, and of what comes at once

    def settle(self) -> None:
        """Begin alike for everybody: little happens, and next to nothing at once."""
        self.families.weight.mul_(0.1)
        self.hurdles.weight.mul_(0.1)
        self.history.weight.mul_(0.1)
        self.levels.weight[:, 0] = -1.0
        self.levels.weight[:, 1] = -5.0

    @override
    def forward(
        self,
        latents: Float[Tensor, "Q b K L"],
        state: Float[Tensor, "Q D"],
        features: Float[Tensor, "Q F f"],
    ) -> Hazards:
        """Hazards from the latents of the bins and the running statistics of the families."""
        bins = torch.tensor(self.bins, dtype=torch.float32, device=latents.device)
        asked = window_features(bins.expand(len(latents), -1, -1), self.clock_days)
        beside = torch.cat([state[:, None].expand(-1, len(bins), -1), asked], dim=-1)
        beside = beside[:, :, None].expand(-1, -1, latents.shape[2], -1)
        shared = nn.functional.silu(self.shared(torch.cat([latents, beside], dim=-1)))
        own = self.families.weight + self.history(features)
        rates = self.levels.weight[:, 0] + torch.einsum("qbkr,qfr->qbkf", shared, own)
        hurdle = self.levels.weight[:, 1] + shared[:, 0] @ self.hurdles.weight.T
        per_day = nn.functional.softplus(rates) / (DAYS_PER_YEAR * self.clock_days)
        return Hazards(bins, nn.functional.softplus(hurdle), per_day, self.clock_days)
