"""What really happened after a question: the one definition that training and the audit share.

An outcome is read from the events that became known after the question and occurred in its window.
It knows no model and no tensor. Where the record cannot tell (it ends before the window does, or a
date is too coarse to say on which side of the window's edge it lies) the outcome is None: unknown
is never counted as "did not happen".
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum

from clinical.prediction.horizon import UNTIL_DISCHARGE, Horizon
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Phase, Standing
from clinical.timeline.quantity import Quantity
from clinical.timeline.time import ClinicalTime
from clinical.timeline.timeline import Timeline


class Risk(StrEnum):
    """The happenings whose probability is read out; the value is the name of the readout."""

    EMERGENCY = "Emergency visit"  # an encounter of class EMER begins
    INPATIENT = "Hospital admission"  # an encounter of class IMP, ACUTE or NONAC begins
    NEW_CONDITION = "New diagnosis"  # a condition is asserted that was not known at the question
    DEATH = "Death"
    DEATH_IN_HOSPITAL = "Death in hospital"  # before the stay that the question falls into ends


_EMERGENCY_CLASSES = frozenset({f"{CodeSystem.ACT}|EMER"})
_INPATIENT_CLASSES = frozenset({f"{CodeSystem.ACT}|{code}" for code in ("IMP", "ACUTE", "NONAC")})


def happened(risk: Risk, timeline: Timeline, as_of: datetime, horizon: Horizon) -> bool | None:
    """Whether `risk` came true within the window; None where the record cannot tell.

    `timeline` is everything held now, not the cut: outcomes are in what came later.
    """
    if risk is Risk.DEATH_IN_HOSPITAL or horizon.end is None:
        return _died_in_hospital(timeline, as_of) if _is_until_discharge(risk, horizon) else None
    after, until = as_of + horizon.start, as_of + horizon.end
    is_about_conditions = risk is Risk.NEW_CONDITION
    known_conditions = _condition_codes(timeline.cut(as_of)) if is_about_conditions else frozenset()
    unclear = False
    for event in _later(timeline, as_of):
        if not _is(risk, event, known_conditions):
            continue
        inside = _lies_within(event.occurred_at, after, until)
        if inside:
            return True
        unclear = unclear or inside is None
    return None if unclear or not is_followed(timeline, until) else False


def next_value(
    code: Code,
    unit: str,
    timeline: Timeline,
    as_of: datetime,
    horizon: Horizon,
    *,
    convert: Callable[[Quantity, str], float | None],
) -> float | None:
    """The first value of `code` measured within the window, in `unit`; None where there is none.

    `convert` gives a quantity in another unit, or None where that cannot be done: such a value
    does not count as measured, and neither does one known only as a bound. A window without an end
    has no first value that could be waited for: None.
    """
    if horizon.end is None:
        return None
    after, until = as_of + horizon.start, as_of + horizon.end
    measured: list[tuple[datetime, bytes, float]] = []
    for event in _later(timeline, as_of):
        value, occurred = event.value, event.occurred_at
        if not isinstance(value, Quantity) or not value.is_computable or occurred is None:
            continue
        if code.key not in _keys(event) or not _lies_within(occurred, after, until):
            continue
        converted = convert(value, unit)
        if converted is not None:
            measured.append((occurred.earliest, event.event_id.bytes, converted))
    return min(measured)[2] if measured else None


def _later(timeline: Timeline, as_of: datetime) -> Iterator[Event]:
    """The asserted events that became known after the question."""
    for known in timeline.standing:
        if known.at > as_of and known.event.standing is Standing.ASSERTED:
            yield known.event


def _is(risk: Risk, event: Event, known_conditions: frozenset[str]) -> bool:
    match risk:
        case Risk.DEATH | Risk.DEATH_IN_HOSPITAL:
            return event.kind is EventKind.DEATH
        case Risk.NEW_CONDITION:
            return (
                event.kind is EventKind.CONDITION
                and event.phase is not Phase.END
                and not _keys(event) & known_conditions
            )
        case Risk.EMERGENCY:
            return _begins_encounter(event, _EMERGENCY_CLASSES)
        case Risk.INPATIENT:
            return _begins_encounter(event, _INPATIENT_CLASSES)


def _is_until_discharge(risk: Risk, horizon: Horizon) -> bool:
    return risk is Risk.DEATH_IN_HOSPITAL and horizon == UNTIL_DISCHARGE


def _died_in_hospital(timeline: Timeline, as_of: datetime) -> bool | None:
    """Whether a death came no later than the next end of a stay; None where neither is on record."""
    later = list(_later(timeline, as_of))
    times = [e.occurred_at for e in later if _ends_stay(e) and e.occurred_at is not None]
    discharged = min((time.latest for time in times), default=None)
    deaths = [e.occurred_at for e in later if e.kind is EventKind.DEATH]
    if discharged is None:
        return None
    if any(death is None for death in deaths):
        return None  # died, nobody says when
    return any(death is not None and death.earliest <= discharged for death in deaths)


def _ends_stay(event: Event) -> bool:
    is_end = event.kind is EventKind.ENCOUNTER and event.phase is Phase.END
    return is_end and bool(_keys(event) & _INPATIENT_CLASSES)


def _begins_encounter(event: Event, classes: frozenset[str]) -> bool:
    begins = event.kind is EventKind.ENCOUNTER and event.phase is not Phase.END
    return begins and bool(_keys(event) & classes)


def _keys(event: Event) -> frozenset[str]:
    return frozenset({event.code.key, *(code.key for code in event.other_codes)})


def _condition_codes(known: Timeline) -> frozenset[str]:
    keys = (
        _keys(event)
        for event in known
        if event.kind is EventKind.CONDITION and event.standing is Standing.ASSERTED
    )
    return frozenset().union(*keys)


def _lies_within(occurred: ClinicalTime | None, after: datetime, until: datetime) -> bool | None:
    """Whether it surely lies in `(after, until]`; None where its precision does not tell."""
    if occurred is None:
        return None
    if occurred.latest <= after or occurred.earliest > until:
        return False
    return True if occurred.earliest > after and occurred.latest <= until else None


def is_followed(timeline: Timeline, until: datetime) -> bool:
    """Whether the record reaches the end of the window: something was known later, or they died."""
    has_died = any(event.kind is EventKind.DEATH for event in timeline)
    return has_died or (timeline.known_until is not None and timeline.known_until >= until)
