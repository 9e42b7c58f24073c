"""What a plan costs, in the units of the readouts: the seam between the model and any planner.

Knows goals and raw readouts. Never searches for plans and never touches the network: a planner gives
plans and gets energies. It speaks of the expected course among similar patients under a plan, not of
the plan's effect. How usual a plan is among the training patients is not counted yet.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.readout import RawReadouts

PARTS = ("goals", "risks", "burden", "disagreement")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """What is wanted; values in standard deviations of the training values, NaN where any will do."""

    low: Float[Tensor, " C"]
    high: Float[Tensor, " C"]
    risk_weights: Float[Tensor, " F"]
    horizon_weights: Float[Tensor, " H"]
    burden_per_action: float = 0.05
    disagreement_weight: float = 1.0


def energy(
    latents: Float[Tensor, "n H K L"], raw: RawReadouts, plan: Plan, goals: Goals
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 4"]]:
    """The energy of each plan, less being better, and its parts in the order of `PARTS`.

    Summed over horizons, for a goal missed early counts as one missed late (design 7.9). The
    deviation of a quantity is its mean distance from the goal over the foretold quantiles.
    """
    weights = goals.horizon_weights
    low = torch.nan_to_num(goals.low, nan=-torch.inf)[:, None]
    high = torch.nan_to_num(goals.high, nan=torch.inf)[:, None]
    outside = (low - raw.quantiles).clamp(min=0.0) + (raw.quantiles - high).clamp(min=0.0)
    missed = outside.mean(dim=(2, 4)).sum(-1)
    risks = (-torch.expm1(-raw.intensity).mean(2) * goals.risk_weights).sum(-1)
    spread = (latents - latents.mean(2, keepdim=True)).square().mean((2, 3)).sqrt()
    num_actions = (plan.is_action & plan.is_given[:, None]).sum(1)
    parts = torch.stack(
        [
            (missed * weights).sum(1),
            (risks * weights).sum(1),
            goals.burden_per_action * num_actions,
            goals.disagreement_weight * (spread * weights).sum(1),
        ],
        dim=1,
    )
    return parts.sum(1), parts
