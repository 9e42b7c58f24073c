"""The frozen state of each stay, hour by hour: what every readout of the table is fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.jepa import Encoded, Jepa, Reading
from clinical.worldmodel.tensorize import MODALITY_COLUMN
from pipelines.evaluation.icu.lessons import ADMISSION_DAY
from pipelines.evaluation.icu.stays import StaySet

HOURS = tuple(float(hour) for hour in range(4, 49, 4))
"""When a stay is read: every fourth hour to the end of the record."""
_AT_ONCE = 100
VITAL_SIGNS = 2
"""In the column of modalities: see `corruption` of the training loss."""


@dataclass(frozen=True, slots=True)
class States:
    """`state` at each of the hours read; `series` are the running statistics at the last of them."""

    state: Float[Tensor, "n h D"]
    series: Float[Tensor, "n s"]

    @property
    def last(self) -> Float[Tensor, "n D"]:
        """The state at the last hour."""
        return self.state[:, -1]

    @property
    def pooled(self) -> Float[Tensor, "n d"]:
        """The last state beside the mean and the maximum of all so far."""
        return pooled(self.state)[:, -1]

    @property
    def with_series(self) -> Float[Tensor, "n d"]:
        """The pooled states beside the running statistics."""
        return torch.cat([self.pooled, self.series], dim=1)


def pooled(state: Float[Tensor, "n h D"]) -> Float[Tensor, "n h d"]:
    """At each hour: the state, the mean and the maximum of the states so far."""
    num = state.shape[1]
    # A product, for a running sum of floats has no deterministic kernel on a GPU.
    so_far = torch.ones(num, num, device=state.device).tril()
    mean = (so_far / so_far.sum(1, keepdim=True)) @ state
    return torch.cat([state, mean, state.cummax(1).values], dim=-1)


def read_hours(
    model: Jepa, batch: TimelineBatch, encoded: Encoded, hours: Sequence[float]
) -> tuple[Float[Tensor, "n h D"], Reading]:
    """The state of every stay of `batch` at each of `hours`, and the reading that holds them."""
    num, device = batch.num_timelines, batch.birth_day.device
    row = torch.arange(num, device=device).repeat_interleave(len(hours))
    day = torch.tensor(hours, dtype=torch.float64, device=device).repeat(num)
    day = ADMISSION_DAY + day / 24
    reading = model.read(batch, encoded, row, day)
    return reading.state.reshape(num, len(hours), -1), reading


class Hindrance(StrEnum):
    """What is kept from the network when it is asked, though not when its readout was fitted."""

    VITALS_WITHHELD = "vitals_withheld"
    CODES_UNSEEN = "codes_unseen"
    """Every code is one that it never saw: known by its system and its words alone."""


def _hindered(model: Jepa, batch: TimelineBatch, hindrance: Hindrance | None) -> Encoded:
    match hindrance:
        case None:
            return model.encode(batch)
        case Hindrance.VITALS_WITHHELD:
            is_kept = batch.event_attributes[:, MODALITY_COLUMN] != VITAL_SIGNS
            return model.encode(batch, is_kept=is_kept)
        case Hindrance.CODES_UNSEEN:
            is_exact = torch.zeros(len(batch.event_concept), dtype=torch.bool)
            return model.encode(batch, is_exact=is_exact)


@torch.no_grad()
def states_of(
    model: Jepa,
    stays: StaySet,
    places: Tensor,
    hours: Sequence[float] = HOURS,
    hindrance: Hindrance | None = None,
) -> States:
    """The states of the stays at `places`; the model is left as it is."""
    model.eval()
    states, series = [], []
    for chunk in torch.split(places, _AT_ONCE):
        batch = stays.joined(chunk.tolist())
        state, reading = read_hours(model, batch, _hindered(model, batch, hindrance), hours)
        states.append(state)
        seen = model.seen(reading.features)
        series.append(seen.flatten(1)[len(hours) - 1 :: len(hours)])
    return States(torch.cat(states), torch.cat(series))
