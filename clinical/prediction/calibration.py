"""From a raw score to a probability that means what it says, and the evidence that it does."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Of `count` calibration patients predicted `mean_predicted` on average, `observed` had it."""

    mean_predicted: float
    observed: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlattCalibration:
    """`probability = sigmoid(slope * logit + intercept)` (Platt 1999), and where it was fitted."""

    calibration_id: str
    slope: float
    intercept: float
    num_patients: int
    num_outcomes: int
    reliability: tuple[ReliabilityBin, ...] = ()

    def probability(self, logit: float) -> float:
        """The calibrated probability of a raw logit."""
        z = self.slope * logit + self.intercept
        return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformalCalibration:
    """Split-conformal widening of a quantile interval (Romano, Patterson & Candès 2019, CQR).

    The interval `[low - offset, high + offset]`, in the readout's unit, covers `level` of new
    patients like those it was fitted on.
    """

    calibration_id: str
    level: float
    offset: float
    num_patients: int
