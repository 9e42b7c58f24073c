"""What became of patients like this one, as an aggregate that gives nobody away.

Knows how outcomes, ages and distances of a group are counted, and what must not be said of a small
one. Does not know how the group was found. It tells what is on record; it is no forecast.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median
from uuid import UUID

from clinical.prediction.horizon import Horizon
from clinical.prediction.outcome import Risk, happened, is_followed
from clinical.timeline.event import EventKind
from clinical.timeline.timeline import Timeline

SMALLEST_GROUP = 20
SMALLEST_CELL = 11
"""A count of fewer patients, but for none, is not told, nor one from which it could be subtracted."""

_BANDS = ((0, 17), (18, 39), (40, 59), (60, 79), (80, None))
_UNKNOWN = "unknown"
_YEAR = timedelta(days=365.25)
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another patient at a moment at which their state was near; never leaves the service."""

    patient_id: UUID
    as_of: datetime
    distance: float


class Untold(StrEnum):
    """Why a number is not told."""

    TOO_FEW_PATIENTS = "not_enough_similar_patients"
    NO_STATE = "no_state"  # the model said nothing of the patient asked about
    TOO_FEW_FOLLOWED = "not_enough_followed"
    FEW_HAD_IT = "few_had_it"  # fewer than SMALLEST_CELL did
    FEW_WERE_SPARED = "few_were_spared"  # fewer than SMALLEST_CELL did not


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeShare:
    """Of those followed to the end of the window, the share to whom it happened (95 % interval)."""

    risk: Risk
    horizon: Horizon
    num_followed: int | None
    share: float | None
    low: float | None
    high: float | None
    untold: Untold | None


@dataclass(frozen=True, slots=True)
class AgeBand:
    """How many of the group were of this age; None where too few to be told."""

    label: str
    count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarPatients:
    """The group, or why there is none. Distances are between latent states, in the model's units."""

    num_patients: int = 0
    median_distance: float | None = None
    typical_distance: float | None = None
    ages: tuple[AgeBand, ...] = ()
    outcomes: tuple[OutcomeShare, ...] = ()
    untold: Untold | None = None


def summarised(
    group: Sequence[tuple[Neighbour, Timeline]],
    asked: Sequence[tuple[Risk, Horizon]],
    typical_distance: float | None,
) -> SimilarPatients:
    """The group as numbers; each timeline is everything held of that patient now."""
    if len(group) < SMALLEST_GROUP:
        return SimilarPatients(untold=Untold.TOO_FEW_PATIENTS)
    return SimilarPatients(
        num_patients=len(group),
        median_distance=median(neighbour.distance for neighbour, _ in group),
        typical_distance=typical_distance,
        ages=_ages(group),
        outcomes=tuple(_share(risk, horizon, group) for risk, horizon in asked),
    )


def _share(
    risk: Risk, horizon: Horizon, group: Sequence[tuple[Neighbour, Timeline]]
) -> OutcomeShare:
    told = [_outcome(risk, horizon, each.as_of, timeline) for each, timeline in group]
    followed = [outcome for outcome in told if outcome is not None]
    total, num = len(followed), sum(followed)
    untold = _untold(num, total)
    low, high = (None, None) if untold else wilson(num, total)
    return OutcomeShare(
        risk=risk,
        horizon=horizon,
        num_followed=None if untold is Untold.TOO_FEW_FOLLOWED else total,
        share=None if untold else num / total,
        low=low,
        high=high,
        untold=untold,
    )


def _outcome(risk: Risk, horizon: Horizon, as_of: datetime, timeline: Timeline) -> bool | None:
    """What happened, of those whose record reaches the end alone: whoever was lost counts in neither."""
    if horizon.end is not None and not is_followed(timeline, as_of + horizon.end):
        return None
    return happened(risk, timeline, as_of, horizon)


def _untold(num: int, total: int) -> Untold | None:
    if total < SMALLEST_GROUP:
        return Untold.TOO_FEW_FOLLOWED
    if num < SMALLEST_CELL:
        return Untold.FEW_HAD_IT
    return Untold.FEW_WERE_SPARED if total - num < SMALLEST_CELL else None


def wilson(num: int, total: int) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927) at 95 %."""
    share, z2 = num / total, _Z * _Z
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    half /= 1 + z2 / total
    return middle - half, middle + half


def _ages(group: Sequence[tuple[Neighbour, Timeline]]) -> tuple[AgeBand, ...]:
    counts = Counter(_band(timeline, each.as_of) for each, timeline in group)
    hidden = {label for label, count in counts.items() if count < SMALLEST_CELL}
    if len(hidden) == 1 and len(counts) > 1:
        # One alone could be subtracted from the total: the smallest of the others hides with it.
        others = sorted((count, label) for label, count in counts.items() if label not in hidden)
        hidden.add(others[0][1])
    labels = [*(_label(*band) for band in _BANDS), _UNKNOWN]
    return tuple(
        AgeBand(label, None if label in hidden else counts[label])
        for label in labels
        if counts[label]
    )


def _band(timeline: Timeline, as_of: datetime) -> str:
    for event in timeline:
        if event.kind is EventKind.PATIENT and event.occurred_at is not None:
            years = int((as_of - event.occurred_at.earliest) / _YEAR)
            return next(
                (_label(*band) for band in _BANDS if band[1] is None or years <= band[1]), _UNKNOWN
            )
    return _UNKNOWN


def _label(low: int, high: int | None) -> str:
    return f"{low}+" if high is None else f"{low}-{high}"
