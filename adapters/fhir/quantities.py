"""FHIR amounts to quantities: every digit as sent, the unit in UCUM or kept as text."""

from decimal import Decimal, InvalidOperation
from functools import lru_cache

from msgspec import Raw

from adapters.fhir import datatypes
from adapters.fhir.errors import Reason, RecordError
from adapters.units import ucum_code
from clinical.timeline.quantity import Comparator, Quantity, QuantityRange

_UCUM_URI = "http://unitsofmeasure.org"
_MAX_DIGITS = 40
_MAX_EXPONENT = 30


def decimal(raw: Raw, path: str) -> Decimal | None:
    """The value of the amount at `path`, with all its digits (`0.40` stays `0.40`); None where absent.

    Raises:
        RecordError: it is no JSON number, or has more than 40 characters or a power above 30.
    """
    text = str(raw, "ascii", "replace")
    if not text:
        return None
    if text[0] not in "-0123456789":
        raise RecordError(Reason.WRONG_TYPE, f"{path}.value: a decimal is a JSON number")
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise RecordError(Reason.WRONG_TYPE, f"{path}.value: a decimal is a JSON number") from error
    if len(text) > _MAX_DIGITS or abs(value.adjusted()) > _MAX_EXPONENT:
        raise RecordError(Reason.NUMBER_OUT_OF_RANGE, f"{path}.value: the number is out of range")
    return value


def quantity(amount: datatypes.Quantity, path: str) -> Quantity | None:
    """The amount; None where it has no value. Its `unit` is None where the sender's is not UCUM."""
    value = decimal(amount.value, path)
    if value is None:
        return None
    unit, text = _unit(amount.system, amount.code, amount.unit)
    comparator = Comparator(amount.comparator) if amount.comparator else None
    return Quantity(value, unit, text, comparator)


def quantity_range(stated: datatypes.Range, path: str) -> QuantityRange | None:
    """The range; None where neither end has a value."""
    low = quantity(stated.low, f"{path}.low") if stated.low else None
    high = quantity(stated.high, f"{path}.high") if stated.high else None
    return QuantityRange(low, high) if low or high else None


def ratio_text(stated: datatypes.Ratio, path: str) -> str | None:
    """A ratio in words, e.g. `1:128` or `5 mg:2 mL`, its digits as sent: a titre is no quotient."""
    parts = []
    for amount, name in ((stated.numerator, "numerator"), (stated.denominator, "denominator")):
        found = quantity(amount, f"{path}.{name}") if amount else None
        if found is None:
            return None
        words = f"{found.comparator or ''}{found.value}"
        parts.append(f"{words} {found.unit_text}" if found.unit_text else words)
    return ":".join(parts)


@lru_cache(maxsize=4096)
def _unit(system: str | None, code: str | None, unit: str | None) -> tuple[str | None, str]:
    text = unit or code or ""
    if code is not None and system in {_UCUM_URI, None}:
        known = ucum_code(code)
        if known is not None:
            return known, text
    return (ucum_code(unit) if unit else None), text
