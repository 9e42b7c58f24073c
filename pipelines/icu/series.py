"""The series of intensive care by their standard codes; `series.csv` is the table a person reads."""

import csv
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files

from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.quantity import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series: its code, the UCUM unit of its values, and the range outside which none is believed."""

    parameter: str
    code: Code
    unit: str
    category: str
    low: Decimal
    high: Decimal

    def value(self, number: Decimal) -> Quantity | str:
        """The quantity, or the number as mere text where no living patient could have it."""
        if self.low <= number <= self.high:
            return Quantity(number, self.unit)
        return str(number)


@cache
def series() -> dict[str, Series]:
    """By the name that the PhysioNet 2012 challenge gives them."""
    text = (files("pipelines.icu") / "series.csv").read_text("utf-8")
    return {row["parameter"]: _series(row) for row in csv.DictReader(text.splitlines())}


def _series(row: dict[str, str]) -> Series:
    return Series(
        parameter=row["parameter"],
        code=Code(CodeSystem(row["system"]), row["code"], row["display"]),
        unit=row["unit"],
        category=row["category"],
        low=Decimal(row["low"]),
        high=Decimal(row["high"]),
    )
