"""Means, deviations and deciles as some stays alone have them: what a fold may know of its values.

A set is read once, by the scales of all its stays. A fold has scales of its own training stays; the
numbers that depend on them are computed anew here, without reading the set again.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.vocabulary import NUM_KNOTS, ValueScale, Vocabulary
from pipelines.evaluation.icu.stays import StaySet

_SHIFTED = (1, 3, 4, 5, 6)  # of the running numbers: mean, low, high, first, last
_SQUARED = 2
_CLIP = 5.0
_FEWEST = 10


def with_scales_of(stays: StaySet, places: Tensor) -> StaySet:
    """The same stays, read by the scales of those at `places` alone.

    A series with fewer than ten values among them has the scale of plain numbers: mean 0, deviation 1.
    """
    vocabulary, batch = stays.vocabulary, stays.whole
    is_fitted = torch.zeros(len(stays), dtype=torch.bool)
    is_fitted[places] = True
    of_value = batch.event_row[batch.value_event]
    old = [vocabulary.scales[key] for key in vocabulary.numeric]
    new = []
    for series, scale in enumerate(old):
        own = (batch.value_series == series) & is_fitted[of_value]
        new.append(_fitted(scale, batch.value_z[own].double() * scale.sd + scale.mean))
    return replace(stays, whole=_rescaled(batch, old, new), vocabulary=_with(vocabulary, new))


def _fitted(scale: ValueScale, values: Float[Tensor, " n"]) -> ValueScale:
    if len(values) < _FEWEST or not float(values.std(correction=0)) > 0:
        return replace(scale, mean=0.0, sd=1.0, knots=tuple(float(k) for k in range(NUM_KNOTS)))
    levels = torch.linspace(0, 1, NUM_KNOTS, dtype=torch.float64)
    # numpy-style linear quantiles by hand: torch.quantile refuses long inputs.
    ordered = values.sort().values
    place = levels * (len(ordered) - 1)
    below = place.floor().long()
    above = (below + 1).clamp(max=len(ordered) - 1)
    knots = ordered[below] + (place - below) * (ordered[above] - ordered[below])
    return replace(
        scale,
        mean=float(values.mean()),
        sd=float(values.std(correction=0)),
        knots=tuple(knots.tolist()),
        num_values=len(values),
    )


def _with(vocabulary: Vocabulary, scales: list[ValueScale]) -> Vocabulary:
    by_key = dict(zip(vocabulary.numeric, scales, strict=True))
    entries = tuple(
        replace(entry, scale=by_key.get(entry.code.key, entry.scale))
        for entry in vocabulary.entries
    )
    return replace(vocabulary, entries=entries)


def _rescaled(batch: TimelineBatch, old: list[ValueScale], new: list[ValueScale]) -> TimelineBatch:
    # Families follow the numeric series and have no scale.
    num_families = batch.initial_running.shape[1] - len(old)
    factor = torch.tensor(
        [o.sd / n.sd for o, n in zip(old, new, strict=True)] + [1.0] * num_families
    ).double()
    shift = torch.tensor(
        [(o.mean - n.mean) / n.sd for o, n in zip(old, new, strict=True)] + [0.0] * num_families
    ).double()
    assert math.isfinite(float(factor.sum() + shift.sum()))
    running = batch.running.clone()
    scale, offset = factor[batch.running_series], shift[batch.running_series]
    for column in _SHIFTED:
        running[:, column] = running[:, column] * scale + offset
    running[:, _SQUARED] *= scale**2
    z = batch.value_z.double() * factor[batch.value_series] + shift[batch.value_series]
    number = batch.event_number.clone()
    for series, fitted in enumerate(new):
        own = batch.value_series == series
        event = batch.value_event[own]
        number[event, 0] = _positions(z[own] * fitted.sd + fitted.mean, fitted)
        number[event, 1] = z[own].clamp(-_CLIP, _CLIP).float()
    return replace(batch, running=running, value_z=z.float(), event_number=number)


def _positions(values: Float[Tensor, " n"], scale: ValueScale) -> Float[Tensor, " n"]:
    """As `ValueScale.position`, for many values at once."""
    knots = torch.tensor(scale.knots, dtype=torch.float64)
    # A value is back from single precision: what was on a knot must be on it again.
    slack = 1e-6 * scale.sd
    index = torch.searchsorted(knots[1:], values + slack, right=True)
    low, high = knots[index.clamp(max=NUM_KNOTS - 2)], knots[(index + 1).clamp(max=NUM_KNOTS - 1)]
    share = ((values - low) / (high - low).clamp(min=1e-12)).clamp(0.0, 1.0)
    position = torch.where(index >= NUM_KNOTS - 1, NUM_KNOTS - 1.0, index + share)
    return torch.where(values + slack <= knots[0], 0.0, position).float()
