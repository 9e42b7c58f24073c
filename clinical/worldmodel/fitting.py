"""Fits a vocabulary to the timelines of the training patients, and to nobody else's.

Knows counting and deciles. Does not know units: the caller says how one converts into another.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from clinical.timeline.code import Code
from clinical.timeline.event import Event, Role
from clinical.timeline.quantity import Quantity
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.vocabulary import NUM_KNOTS, CodeEntry, ValueScale, Vocabulary

Convert = Callable[[str, str], tuple[float, float] | None]
"""`(unit, to)` → `(factor, offset)`, or None where the two are not of one dimension."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """When a code is worth a token, decile vectors of its own, or a forecast of its values."""

    min_count: int = 3
    min_values: int = 10
    min_own_bins: int = 200
    min_forecast_values: int = 150
    max_numeric: int = 20
    max_actions: int = 24
    num_buckets: int = 1024


@dataclass(slots=True)
class _Seen:
    displays: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    quantities: list[Quantity] = field(default_factory=list)
    count: int = 0
    num_actions: int = 0


def fit(
    timelines: Iterable[Timeline],
    convert: Convert,
    *,
    common_units: Iterable[str] = (),
    config: FitConfig | None = None,
) -> Vocabulary:
    """The vocabulary of these timelines; the same timelines in any order give the same one.

    Units seen with a code, and those of `common_units`, are each tried once with `convert`.
    """
    config = config or FitConfig()
    seen: dict[tuple[str, str], _Seen] = defaultdict(_Seen)
    for timeline in timelines:
        for event in timeline.events:
            _count(seen, event)
    units = sorted(set(common_units))
    kept = sorted(identity for identity, facts in seen.items() if facts.count >= config.min_count)
    entries = tuple(_fit_entry(key, seen[key], convert, units, config) for key in kept)
    return Vocabulary(
        entries=entries,
        systems=tuple(sorted({system for system, _ in seen})),
        numeric=_numeric(entries, config),
        actions=_actions(seen, kept, config),
        num_buckets=config.num_buckets,
    )


def _count(seen: dict[tuple[str, str], _Seen], event: Event) -> None:
    facts = seen[event.code.system, event.code.value]
    facts.count += 1
    facts.displays[event.code.display] += 1
    facts.num_actions += event.role is Role.ACTION
    value = event.value
    if isinstance(value, Quantity) and value.is_computable and value.unit is not None:
        facts.units[value.unit] += 1
        facts.quantities.append(value)
    if isinstance(value, Code):
        answer = seen[value.system, value.value]
        answer.count += 1
        answer.displays[value.display] += 1


def _fit_entry(
    identity: tuple[str, str],
    facts: _Seen,
    convert: Convert,
    common_units: list[str],
    config: FitConfig,
) -> CodeEntry:
    system, value = identity
    display = min(facts.displays, key=lambda text: (-facts.displays[text], text))
    scale = _fit_scale(facts, convert, common_units, config)
    return CodeEntry(system=system, value=value, display=display, count=facts.count, scale=scale)


def _fit_scale(
    facts: _Seen, convert: Convert, common_units: list[str], config: FitConfig
) -> ValueScale | None:
    if not facts.units:
        return None
    unit = min(facts.units, key=lambda name: (-facts.units[name], name))
    conversions = {unit: (1.0, 0.0)}
    for other in sorted({*facts.units, *common_units} - {unit}):
        found = convert(other, unit)
        if found is not None:
            conversions[other] = (float(found[0]), float(found[1]))
    values = sorted(
        float(q.value) * conversions[q.unit][0] + conversions[q.unit][1]
        for q in facts.quantities
        if q.unit in conversions
    )
    mean = math.fsum(values) / len(values)
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
    if len(values) < config.min_values or not sd > 0 or not math.isfinite(sd):
        return None
    return ValueScale(
        unit=unit,
        knots=tuple(_quantile(values, i / (NUM_KNOTS - 1)) for i in range(NUM_KNOTS)),
        mean=mean,
        sd=sd,
        num_values=len(values),
        has_own_bins=len(values) >= config.min_own_bins,
        conversions=conversions,
    )


def _quantile(ordered: list[float], level: float) -> float:
    place = level * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _numeric(entries: tuple[CodeEntry, ...], config: FitConfig) -> tuple[str, ...]:
    enough = [
        (-entry.scale.num_values, entry.code.key)
        for entry in entries
        if entry.scale is not None and entry.scale.num_values >= config.min_forecast_values
    ]
    return tuple(key for _, key in sorted(enough)[: config.max_numeric])


def _actions(
    seen: dict[tuple[str, str], _Seen], kept: list[tuple[str, str]], config: FitConfig
) -> tuple[str, ...]:
    ranked = sorted(
        (-seen[key].num_actions, f"{key[0]}|{key[1]}") for key in kept if seen[key].num_actions
    )
    return tuple(key for _, key in ranked[: config.max_actions])
