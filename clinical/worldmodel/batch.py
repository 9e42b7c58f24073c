"""Timelines as tensors: flat, without padding, so that no row can depend on its neighbours.

Knows the fields, how several timelines are joined into one batch, and what lies where in one.
`tensorize.py` fills it.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clinical.timeline.event import Event

# How a field's numbers change when timelines are joined: they count rows of another table.
COUNTS_INTO = {
    "event_concept": "concept_token",
    "event_value_concept": "concept_token",
    "event_bundle": "bundle_day",
    "value_event": "event_concept",
    "running_bundle": "bundle_day",
    "static_row": "birth_day",
    "bundle_row": "birth_day",
    "static_event": "event_concept",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineBatch:
    """`B` timelines. Concept 0 of each timeline is "none": token 0, system 0, no pieces.

    Static facts (sex, birth) are events of no bundle (`event_bundle` is -1): they are given once.
    """

    concept_token: Int[Tensor, " C"]
    concept_system: Int[Tensor, " C"]
    concept_pieces: Int[Tensor, "C G"]

    event_concept: Int[Tensor, " N"]
    event_value_concept: Int[Tensor, " N"]
    event_attributes: Int[Tensor, "N 6"]  # kind, phase, standing, origin, role, modality
    event_flags: Float[Tensor, "N U"]
    event_bin_row: Int[Tensor, " N"]
    event_number: Float[Tensor, "N 3"]  # decile position, clipped z, is a number
    event_lag: Float[Tensor, " N"]  # log days from when it happened to when it was known
    event_bundle: Int[Tensor, " N"]  # row of the bundle tables, -1 for static facts

    bundle_row: Int[Tensor, " M"]
    bundle_step: Int[Tensor, " M"]
    bundle_day: Float[Tensor, " M"]  # float64
    bundle_counts: Float[Tensor, "M 3"]  # log1p of the events of each role

    # One entry per value of a followed series: which series, at which event.
    value_series: Int[Tensor, " V"]
    value_event: Int[Tensor, " V"]
    value_z: Float[Tensor, " V"]  # not clipped; 0 for families
    # One entry per series and bundle in which it had a value: the statistics after that bundle.
    running_series: Int[Tensor, " E"]
    running_bundle: Int[Tensor, " E"]
    running: Float[Tensor, "E 9"]  # float64

    static_event: Int[Tensor, " Z"]
    static_row: Int[Tensor, " Z"]
    birth_day: Float[Tensor, " B"]  # float64, NaN where unknown
    # Where this is the continuation of something read before; NaN and zeros where it is the start.
    previous_day: Float[Tensor, " B"]  # float64
    initial_running: Float[Tensor, "B S 9"]  # float64

    events: tuple[Event, ...]  # as read, N of them
    num_unseen: tuple[int, ...]  # per timeline: events whose code has no token
    num_events: tuple[int, ...]

    @property
    def num_timelines(self) -> int:
        """B."""
        return self.birth_day.shape[0]

    def to(self, device: str | torch.device) -> "TimelineBatch":
        """The same batch on another device."""
        moved: dict[str, Any] = {
            f.name: value.to(device)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    @property
    def event_day(self) -> Float[Tensor, " N"]:
        """When each event became known; static facts count as always known."""
        padded = torch.cat([self.bundle_day, self.bundle_day.new_full((1,), -torch.inf)])
        return padded[self.event_bundle]

    @property
    def event_row(self) -> Int[Tensor, " N"]:
        """To which timeline each event belongs; -1 for static facts."""
        padded = torch.cat([self.bundle_row, self.bundle_row.new_full((1,), -1)])
        return padded[self.event_bundle]


def join(batches: list[TimelineBatch]) -> TimelineBatch:
    """One batch of all their timelines, in this order."""
    if len(batches) == 1:
        return batches[0]
    joined: dict[str, Any] = {}
    for field in fields(TimelineBatch):
        columns = [getattr(batch, field.name) for batch in batches]
        if isinstance(columns[0], tuple):
            joined[field.name] = tuple(item for column in columns for item in column)
            continue
        table = COUNTS_INTO.get(field.name)
        if table is not None:
            columns = _shifted(columns, [len(getattr(batch, table)) for batch in batches])
        joined[field.name] = torch.cat(columns)
    return TimelineBatch(**joined)


def _shifted(columns: list[Tensor], sizes: list[int]) -> list[Tensor]:
    shifted, start = [], 0
    for column, size in zip(columns, sizes, strict=True):
        shifted.append(torch.where(column >= 0, column + start, column))
        start += size
    return shifted


def kept_events(batch: TimelineBatch, is_kept: Bool[Tensor, " N"]) -> Int[Tensor, " n"]:
    """The places of the events that are kept and belong to a bundle, in order."""
    return torch.nonzero(is_kept & (batch.event_bundle >= 0)).squeeze(1)


def gaps(batch: TimelineBatch) -> Float[Tensor, " M"]:
    """Days from each bundle to the one before it in its timeline; 0 for a timeline's first."""
    day, row = batch.bundle_day, batch.bundle_row
    before = torch.cat([day.new_full((1,), torch.nan), day])[:-1]
    start = torch.nan_to_num(batch.previous_day[row] - day, nan=0.0) + day
    before = torch.where(batch.bundle_step == 0, start, before)
    return (day - before).clamp(min=0.0).float()


def padded(batch: TimelineBatch, values: Tensor, filler: float | bool) -> Tensor:
    """A value per bundle as `[timelines, bundles, …]`, `filler` where a timeline has fewer."""
    num_steps = int(batch.bundle_step.max()) + 1 if len(batch.bundle_step) else 0
    shape = (batch.num_timelines, num_steps, *values.shape[1:])
    return values.new_full(shape, filler).index_put((batch.bundle_row, batch.bundle_step), values)


def running_at(
    batch: TimelineBatch, row: Int[Tensor, " Q"], place: Int[Tensor, " Q"]
) -> Float[Tensor, "Q S R"]:
    """The running statistics of every series after the first `place` bundles of a timeline."""
    num_bundles = len(batch.bundle_day)
    num_series = batch.initial_running.shape[1]
    keys = batch.running_series * (num_bundles + 1) + batch.running_bundle
    keys, order = keys.sort()
    counts = torch.bincount(batch.bundle_row, minlength=batch.num_timelines)
    first = (counts.cumsum(0) - counts)[row]
    series = torch.arange(num_series, device=row.device)
    asked = series * (num_bundles + 1) + (first + place - 1)[:, None]
    found = torch.searchsorted(keys, asked, right=True) - 1
    initial = batch.initial_running[row]
    if not len(order):
        return initial
    entry = order[found.clamp(min=0)]
    is_own = (batch.running_series[entry] == series) & (
        batch.running_bundle[entry] >= first[:, None]
    )
    is_own = is_own & (found >= 0) & (place > 0)[:, None]
    return torch.where(is_own[..., None], batch.running[entry], initial)


def kept_series(batch: TimelineBatch, is_kept: Bool[Tensor, " N"]) -> Bool[Tensor, "B S"]:
    """Whether a series of a timeline may be seen: none of its events is hidden."""
    num_series = batch.initial_running.shape[1]
    hidden = torch.nonzero(~is_kept[batch.value_event]).squeeze(1)
    kept = torch.ones(
        batch.num_timelines, num_series, dtype=torch.bool, device=batch.birth_day.device
    )
    kept[batch.event_row[batch.value_event[hidden]], batch.value_series[hidden]] = False
    return kept
