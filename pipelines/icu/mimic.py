"""The stays of the MIMIC-IV demo, and which item of it is which code in which unit.

Layout of the data set: rows `subject_id, time, code, value` (van de Water et al. 2025, MIMIC-IV demo
data in MEDS 0.0.1, doi 10.13026/t2y8-ea41; Open Database License 1.0). `mimic_items.csv` is the table
that a person reads: which item is which LOINC code, in which unit. What it does not name is left out;
dates stay as the data set has them, shifted by its makers and read as UTC.
"""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from clinical.errors import RejectedError
from clinical.timeline.code import CodeSystem

KEPT_HOURS = 72
"""Of each stay: two days to be asked about, and the day after the second question."""

NUM_DIED, NUM_LONG, NUM_SHORT, NUM_BRIEF = 7, 9, 4, 4
DAY, TWO_DAYS = 24.0, 48.0  # hours in intensive care


class NotMimicError(RejectedError):
    """The table holds no stay in intensive care that could be shown."""

    code = "icu.not_mimic"


class Row(NamedTuple):
    """One row of the table; `number` as text with the digits of the source."""

    subject: str
    time: datetime | None
    code: str
    number: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """How one item is written in FHIR; `factor` and `offset` lead exactly to `unit`."""

    meds_code: str
    stated_unit: str
    rule: str  # value, sum (with the others of its code at the same time) or assertion
    system: CodeSystem
    code: str
    display: str
    category: str
    unit: str
    factor: Fraction
    offset: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class IcuStay:
    """One stay: what was charted in its first hours, and how the time in hospital ended."""

    subject: str
    is_female: bool
    born: int  # the year
    unit: str
    admitted: datetime  # to intensive care
    left: datetime  # intensive care
    discharged: datetime  # from hospital
    has_died: bool  # in hospital
    rows: tuple[Row, ...]

    @property
    def hours(self) -> float:
        """In intensive care."""
        return (self.left - self.admitted) / timedelta(hours=1)


@cache
def items() -> dict[str, Item]:
    """The table of items, by `<MEDS code>//<stated unit>`."""
    text = (files("pipelines.icu") / "mimic_items.csv").read_text("utf-8")
    found = [_item(row) for row in csv.DictReader(text.splitlines())]
    return {f"{item.meds_code}//{item.stated_unit}": item for item in found}


def _item(row: dict[str, str]) -> Item:
    return Item(
        meds_code=row["meds_code"],
        stated_unit=row["stated_unit"],
        rule=row["rule"],
        system=CodeSystem(row["system"]),
        code=row["code"],
        display=row["display"],
        category=row["category"],
        unit=row["unit"],
        factor=Fraction(row["factor"]),
        offset=Fraction(row["offset"]),
    )


def read_stays(parquet: Path) -> list[IcuStay]:
    """The first stay in intensive care of every patient whose time in hospital is told whole.

    Raises:
        NotMimicError: there is none.
    """
    by_subject: dict[str, list[Row]] = defaultdict(list)
    for row in _rows(parquet):
        by_subject[row.subject].append(row)
    found = [_stay(subject, rows) for subject, rows in sorted(by_subject.items())]
    stays = [stay for stay in found if stay is not None]
    if not stays:
        raise NotMimicError("the table holds no stay in intensive care")
    return stays


def _rows(parquet: Path) -> Iterator[Row]:
    table = pq.read_table(parquet, columns=["subject_id", "time", "code", "value"])
    numbers = table.column("value").to_numpy()
    columns = [table.column(name).to_pylist() for name in ("subject_id", "time", "code")]
    for subject, time, code, number in zip(*columns, numbers, strict=True):
        moment = None if time is None else time.replace(tzinfo=UTC)
        # The fewest digits that name the number in the width of the column.
        yield Row(str(subject), moment, code, None if number != number else str(number))  # noqa: PLR0124


def _stay(subject: str, rows: list[Row]) -> IcuStay | None:
    static = {row.code for row in rows}
    born = min((r.time for r in rows if r.code == "MEDS_BIRTH" and r.time), default=None)
    admitted = _first(rows, "ICU_ADMISSION", datetime.min.replace(tzinfo=UTC))
    left = _first(rows, "ICU_DISCHARGE", admitted.time) if admitted else None
    discharged = _first(rows, "HOSPITAL_DISCHARGE", admitted.time) if admitted else None
    if admitted is None or left is None or discharged is None or born is None:
        return None
    assert admitted.time is not None
    assert left.time is not None
    assert discharged.time is not None
    until = min(left.time, admitted.time + timedelta(hours=KEPT_HOURS))
    return IcuStay(
        subject=subject,
        is_female="GENDER//F" in static,
        born=born.year,
        unit=admitted.code.removeprefix("ICU_ADMISSION//"),
        admitted=admitted.time,
        left=left.time,
        discharged=discharged.time,
        has_died=discharged.code == "HOSPITAL_DISCHARGE//DIED",
        rows=tuple(row for row in rows if row.time and admitted.time <= row.time <= until),
    )


def _first(rows: Iterable[Row], prefix: str, after: datetime | None) -> Row | None:
    """The first row of the sort later than `after`."""
    times = [(r.time, r) for r in rows if r.time and r.code.startswith(prefix)]
    later = [row for time, row in times if after is not None and time > after]
    return min(later, key=lambda row: row.time or row, default=None)


def choose(stays: Iterable[IcuStay]) -> list[IcuStay]:
    """Deaths and survivors, long, short and very short stays; among like ones by a hash of their id."""
    ranked = sorted(stays, key=lambda stay: hashlib.sha256(stay.subject.encode()).digest())
    died = [s for s in ranked if s.has_died and s.hours >= TWO_DAYS]
    long = [s for s in ranked if not s.has_died and s.hours >= TWO_DAYS]
    short = [s for s in ranked if DAY <= s.hours < TWO_DAYS]
    brief = [s for s in ranked if s.hours < DAY]
    chosen = [*died[:NUM_DIED], *long[:NUM_LONG], *short[:NUM_SHORT], *brief[:NUM_BRIEF]]
    return sorted(chosen, key=lambda stay: stay.subject)
