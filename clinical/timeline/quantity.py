"""A measured value with its UCUM unit; never a bare float."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Comparator(StrEnum):
    """What is known when the instrument gave only a bound."""

    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER_OR_EQUAL = ">="
    GREATER = ">"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value as it was sent, with all its digits.

    `unit` is a UCUM code, `1` where the sender gave none for a pure number, or None when the
    sender's unit (`unit_text`) is not UCUM: then the value is kept and shown but never computed with.
    """

    value: Decimal
    unit: str | None
    unit_text: str = ""
    comparator: Comparator | None = None

    @property
    def is_computable(self) -> bool:
        """Whether the value may enter arithmetic: a number, a known unit and no one-sided bound."""
        return self.value.is_finite() and self.unit is not None and self.comparator is None


@dataclass(frozen=True, slots=True)
class QuantityRange:
    """A value known only to lie between two quantities."""

    low: Quantity | None
    high: Quantity | None
