"""What was fitted on patients held out from training: calibration, and how far is too far.

Knows the numbers and how they are written down. Does not fit them; see `pipelines.training`.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clinical.errors import RejectedError
from clinical.prediction.calibration import (
    ConformalCalibration,
    PlattCalibration,
    ReliabilityBin,
)


class MalformedCalibrationError(RejectedError):
    """The calibration file is not one that this version of the code wrote."""

    code = "worldmodel.malformed_calibration"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityCalibration:
    """The conformal widenings of one quantity in one window, and how wide "no idea" would be."""

    intervals: tuple[ConformalCalibration, ...]  # of the outer pair of quantiles, then the inner
    population_width: float  # of the middle 90 % of the training values, in the code's unit


@dataclass(frozen=True, kw_only=True)
class Familiarity:
    """Mahalanobis distance of a state from the training states, and the limit beyond which to abstain.

    It measures how unusual the patient is as the encoder sees them: in all directions of the state
    together, each in units of how far training patients differ along it. The regulariser keeps the
    projected latents of windows near a standard Gaussian, not the state, so mean and covariance are
    fitted (shrunken) and not taken for granted. The limit is the 99th percentile of patients set
    aside. It cannot see what the encoder does not: a code that training never met says little, so
    the share of such codes is counted beside it and has a limit of its own.
    """

    mean: tuple[float, ...]
    whitening: tuple[tuple[float, ...], ...]  # distance = |whitening @ (state - mean)|
    limit: float

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor]:
        return (
            torch.tensor(self.mean, dtype=torch.float64),
            torch.tensor(self.whitening, dtype=torch.float64),
        )

    def distance(self, states: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        """How far each state is, in units of the limit; computed in float64 on the CPU."""
        mean, whitening = self._tensors
        centred = states.detach().cpu().double() - mean
        distance: Tensor = (centred @ whitening.T).norm(dim=1) / self.limit
        return distance


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Everything fitted on held-out patients; keys are `readout|horizon label`."""

    probabilities: dict[str, PlattCalibration]
    quantities: dict[str, QuantityCalibration]
    familiarity: Familiarity | None = None

    def to_json(self) -> str:
        """Canonical JSON, every digit of every number."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Calibration":
        """The calibration that `to_json` wrote.

        Raises:
            MalformedCalibrationError: the text is something else.
        """
        try:
            values = json.loads(text)
            familiarity = values["familiarity"]
            return cls(
                probabilities={k: _platt(v) for k, v in values["probabilities"].items()},
                quantities={k: _quantity(v) for k, v in values["quantities"].items()},
                familiarity=_familiarity(familiarity) if familiarity else None,
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise MalformedCalibrationError("the text is not a calibration") from error


UNCALIBRATED = Calibration(probabilities={}, quantities={})
"""A model of which nothing is known yet: it abstains from every readout."""


def _platt(values: dict[str, Any]) -> PlattCalibration:
    bins = tuple(ReliabilityBin(**each) for each in values["reliability"])
    return PlattCalibration(**{**values, "reliability": bins})


def _quantity(values: dict[str, Any]) -> QuantityCalibration:
    return QuantityCalibration(
        intervals=tuple(ConformalCalibration(**each) for each in values["intervals"]),
        population_width=values["population_width"],
    )


def _familiarity(values: dict[str, Any]) -> Familiarity:
    return Familiarity(
        mean=tuple(values["mean"]),
        whitening=tuple(tuple(row) for row in values["whitening"]),
        limit=values["limit"],
    )
