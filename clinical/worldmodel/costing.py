"""What a plan costs, in the units of the readouts: the seam between the model and any planner.

Knows goals, raw readouts and how usual a plan is. Never searches for plans and never touches the
network: a planner gives plans and gets energies. It speaks of the expected course among similar
patients under a plan, not of the plan's effect.
"""

import math
from dataclasses import dataclass, replace
from decimal import Decimal

import torch
from jaxtyping import Float
from torch import Tensor

from clinical.prediction.plan import Goal, PlanQuestion, UnusableGoalError
from clinical.timeline.quantity import Quantity
from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.families import FORETOLD
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.readout import RawReadouts
from clinical.worldmodel.vocabulary import Vocabulary

PARTS = ("goals", "risks", "burden", "disagreement", "behaviour")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """What is wanted; values in standard deviations of the training values, NaN where any will do."""

    low: Float[Tensor, " C"]
    high: Float[Tensor, " C"]
    risk_weights: Float[Tensor, " F"]
    horizon_weights: Float[Tensor, " H"]
    burden_per_action: float = 0.05
    disagreement_weight: float = 1.0
    behaviour_weight: float = 0.05

    def to(self, device: str) -> "Goals":
        """The same goals on another device."""
        rows = ("low", "high", "risk_weights", "horizon_weights")
        return replace(self, **{name: getattr(self, name).to(device) for name in rows})


def goals_of(question: PlanQuestion, vocabulary: Vocabulary, config: ModelConfig) -> Goals:
    """What a question wants, as the model counts it; every goal, risk and window counts alike.

    Raises:
        UnusableGoalError: a risk or a quantity is not foretold, or a bound cannot be turned into
            its unit.
    """
    bounds = torch.full((2, len(vocabulary.numeric)), torch.nan)
    unusable = [] if config.says_family_risks else [str(risk) for risk in question.risks]
    for goal in question.goals:
        standardised = _standardised(goal, vocabulary)
        if standardised is None:
            unusable.append(goal.label)
        else:
            place = vocabulary.numeric.index(goal.code.key)
            bounds[:, place] = torch.tensor(standardised)
    if unusable:
        raise UnusableGoalError(
            f"the model does not foretell, or not in this unit: {', '.join(unusable)}"
        )
    num_windows = len(config.windows_days)
    return Goals(
        low=bounds[0],
        high=bounds[1],
        risk_weights=torch.tensor([float(name in question.risks) for name in FORETOLD]),
        horizon_weights=torch.full((num_windows,), 1 / num_windows),
    )


def _standardised(goal: Goal, vocabulary: Vocabulary) -> tuple[float, float] | None:
    """Both bounds in standard deviations, NaN where any value will do; None where they cannot be."""
    if goal.code.key not in vocabulary.numeric:
        return None
    scale = vocabulary.scales[goal.code.key]
    values = [
        None if bound is None else scale.canonical(Quantity(Decimal(str(bound)), goal.unit))
        for bound in (goal.low, goal.high)
    ]
    if any(
        value is None and bound is not None
        for value, bound in zip(values, (goal.low, goal.high), strict=True)
    ):
        return None
    low, high = (math.nan if value is None else scale.standardised(value) for value in values)
    return low, high


def energy(
    latents: Float[Tensor, "n H K L"],
    raw: RawReadouts,
    plan: Plan,
    goals: Goals,
    surprise: Float[Tensor, " n"] | None = None,
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 5"]]:
    """The energy of each plan, less being better, and its parts in the order of `PARTS`.

    Summed over horizons, for a goal missed early counts as one missed late (design 7.9). `surprise`
    is the negative logarithm of the probability that similar patients were treated so, in nats;
    without it that part is nothing.
    """
    weights = goals.horizon_weights
    num_actions = (plan.is_action & plan.is_given[:, None]).sum(1)
    spread = (latents - latents.mean(2, keepdim=True)).square().mean((2, 3)).sqrt()
    unusual = spread.new_zeros(len(spread)) if surprise is None else surprise.to(spread)
    parts = torch.stack(
        [
            (missed(raw, goals).mean(-1) * weights).sum(1),
            (risk(raw, goals).mean(-1) * weights).sum(1),
            goals.burden_per_action * num_actions,
            goals.disagreement_weight * (spread * weights).sum(1),
            goals.behaviour_weight * unusual,
        ],
        dim=1,
    )
    return parts.sum(1), parts


def missed(raw: RawReadouts, goals: Goals) -> Float[Tensor, "n H K"]:
    """How far the quantities lie outside their goals, in standard deviations, summed over goals.

    Of each quantity it is the mean distance over the foretold quantiles: a wide forecast that
    reaches beyond the goal misses it in part.
    """
    low = torch.nan_to_num(goals.low, nan=-torch.inf)[:, None]
    high = torch.nan_to_num(goals.high, nan=torch.inf)[:, None]
    outside = (low - raw.quantiles).clamp(min=0.0) + (raw.quantiles - high).clamp(min=0.0)
    return outside.mean(-1).sum(-1)


def risk(raw: RawReadouts, goals: Goals) -> Float[Tensor, "n H K"]:
    """The weighted sum of the probabilities of at least one happening in each window."""
    return (-torch.expm1(-raw.intensity) * goals.risk_weights).sum(-1)
