"""Probes: one question each, answered from the frozen state by weighted sums.

Knows weights that were fitted elsewhere and how they are written down. Does not know what a log odds
means for a patient: calibration says that.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clinical.errors import RejectedError
from clinical.prediction.horizon import Horizon


class MalformedProbesError(RejectedError):
    """The file of probes is not one that this version of the code wrote."""

    code = "worldmodel.malformed_probes"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """`log odds = bias + weights · (state - mean) / scale`; fitted on states of training patients."""

    name: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float

    @cached_property
    def _line(self) -> tuple[Tensor, Tensor]:
        slope = torch.tensor(self.weights, dtype=torch.float64) / torch.tensor(
            self.scale, dtype=torch.float64
        )
        return slope, self.bias - (slope * torch.tensor(self.mean, dtype=torch.float64)).sum()

    def log_odds(self, states: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        """Uncalibrated; computed in float64 on the CPU."""
        slope, intercept = self._line
        return states.cpu().double() @ slope + intercept


@dataclass(frozen=True, slots=True, kw_only=True)
class Prognosis:
    """The probes of one outcome, each fitted on a resample of the training patients.

    The outcome is that of a window of which the network's own readouts do not speak; `end_days`
    None is "until discharge".
    """

    name: str
    start_days: float
    end_days: float | None
    heads: tuple[Probe, ...]

    @property
    def horizon(self) -> Horizon:
        """The window that it speaks of."""
        end = None if self.end_days is None else timedelta(days=self.end_days)
        return Horizon(timedelta(days=self.start_days), end)

    @property
    def key(self) -> str:
        """The name of its calibration."""
        return f"{self.name}|{self.horizon.label}"

    def log_odds(self, states: Float[Tensor, "n D"]) -> Float[Tensor, "n K"]:
        """Of each head, uncalibrated; gradients flow."""
        return torch.stack([head.log_odds(states) for head in self.heads], dim=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """The probes of a checkpoint.

    `outcomes` are said to clinicians; `behaviour`, one per action of the vocabulary, says how usual
    the action is for a patient in that state.
    """

    outcomes: tuple[Prognosis, ...] = field(default=())
    behaviour: tuple[Probe, ...] = field(default=())

    def to_json(self) -> str:
        """Canonical JSON, every digit of every number."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Probes":
        """The probes that `to_json` wrote.

        Raises:
            MalformedProbesError: the text is something else.
        """
        try:
            values = json.loads(text)
            return cls(
                outcomes=tuple(_prognosis(each) for each in values["outcomes"]),
                behaviour=tuple(_probe(each) for each in values["behaviour"]),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise MalformedProbesError("the text is not a set of probes") from error


def _prognosis(values: dict[str, Any]) -> Prognosis:
    heads = tuple(_probe(each) for each in values["heads"])
    if not heads:
        raise ValueError("an outcome has no probe")
    return Prognosis(**{**values, "heads": heads})


def _probe(values: dict[str, Any]) -> Probe:
    rows = {name: tuple(values[name]) for name in ("mean", "scale", "weights")}
    if len({len(row) for row in rows.values()}) != 1:
        raise ValueError("means, scales and weights differ in number")
    return Probe(**{**values, **rows})
