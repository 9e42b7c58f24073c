"""Events and patients as the page shows them: words and digits, each with its source.

Knows how a fact is worded. Does not know predictions or reviews.
"""

from collections.abc import Iterable
from datetime import datetime

from adapters.http.schemas import Fact, Patient, SourceShape
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, EventValue
from clinical.timeline.quantity import Quantity, QuantityRange
from clinical.timeline.timeline import Known

_SEX = {"m": "male", "male": "male", "f": "female", "female": "female"}
_FIRST_AGE_IN_YEARS = 2


def fact_of(known: Known) -> Fact:
    """A fact in words, with the moment from which it was known."""
    event = known.event
    return Fact(
        event_id=event.event_id,
        kind=event.kind,
        label=event_label(event),
        code=event.code.key,
        value=value_text(event.value) or event.absent_reason,
        occurred=event.occurred_at.text if event.occurred_at else None,
        known_at=known.at,
        standing=event.standing,
        origin=event.origin,
        flags=sorted(event.flags),
        source=SourceShape(
            reference=event.source.reference,
            site=event.source.site,
            digest=event.source.digest,
            delivery_id=event.source.delivery_id,
            received_at=event.received_at,
            updated_at=event.source.updated_at,
        ),
    )


def event_label(event: Event) -> str:
    """The sender's words for a fact, from whichever of its codes has some."""
    codes = (event.code, *event.other_codes)
    return next((code.display for code in codes if code.display), event.code.value)


def label_of(code: Code) -> str:
    """The sender's words for a concept, or its code where it gave none."""
    return code.display or code.value


def value_text(value: EventValue) -> str:
    """A value with all the digits that were sent."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Quantity():
            return _quantity_text(value)
        case QuantityRange():
            ends = (value.low, value.high)
            return " – ".join(_quantity_text(end) if end else "?" for end in ends)
        case Code():
            return label_of(value)
        case str():
            return value


def _quantity_text(quantity: Quantity) -> str:
    unit = quantity.unit_text or quantity.unit or ""
    return f"{quantity.comparator or ''}{quantity.value:f} {'' if unit == '1' else unit}".strip()


def patient_of(events: Iterable[Event], as_of: datetime) -> Patient:
    """Sex and age at `as_of` from the static facts; what they do not say is None."""
    sex, birth = None, None
    for event in events:
        if event.kind is not EventKind.PATIENT:
            continue
        if event.code.system == CodeSystem.GENDER:
            stated = value_text(event.value) or event.code.value
            sex = _SEX.get(stated.lower(), stated.lower())
        # The static fact of a patient happened at birth, whichever of its codes it carries.
        birth = event.occurred_at or birth
    if birth is None:
        return Patient(sex=sex, age_years=None, age=None)
    oldest, youngest = (_months(moment, as_of) for moment in (birth.earliest, birth.latest))
    return Patient(
        sex=sex,
        age_years=youngest // 12 if youngest >= 12 * _FIRST_AGE_IN_YEARS else None,
        age=_age_text(youngest, oldest),
    )


def _months(birth: datetime, as_of: datetime) -> int:
    """Whole months lived, never below 0."""
    months = (as_of.year - birth.year) * 12 + as_of.month - birth.month
    return max(months - (as_of.day < birth.day), 0)


def _age_text(youngest: int, oldest: int) -> str:
    """An age as precise as the birth date; months below two years."""
    if youngest < 12 * _FIRST_AGE_IN_YEARS:
        return f"{youngest} months" if youngest == oldest else f"{youngest}–{oldest} months"
    low, high = youngest // 12, oldest // 12
    return str(low) if low == high else f"{low}–{high}"
