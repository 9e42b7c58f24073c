"""PhysioNet / Computing in Cardiology Challenge 2012: stays in intensive care as timelines.

Layout of the data set: a `.tar.gz` (or a folder) of one `RecordID.txt` a stay, rows
`Time,Parameter,Value` with times `HH:MM` since admission, and `Outcomes-*.txt`. Silva et al. 2012,
Goldberger et al. 2000; Open Data Commons Attribution License 1.0. -1 stands for "not known".
"""

import csv
import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from uuid import UUID

from clinical.errors import RejectedError
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Flag, Source
from clinical.timeline.patient import PatientRef
from clinical.timeline.time import ClinicalTime
from clinical.timeline.timeline import Timeline
from pipelines.icu.series import series

SITE = "physionet-2012"
ADMISSION = datetime(2012, 1, 1, tzinfo=UTC)
"""The data set gives no dates: every stay begins here."""

_SEX = {"0": "female", "1": "male"}
_UNIT_SYSTEM = "https://physionet.org/content/challenge-2012/icu-type"
ICU_TYPES = {
    number: Code(_UNIT_SYSTEM, number, f"Intensive care unit: {name}")
    for number, name in (
        ("1", "coronary care"),
        ("2", "cardiac surgery recovery"),
        ("3", "medical"),
        ("4", "surgical"),
    )
}
"""The kinds of unit that the challenge knows, by its numbers."""
VENTILATED = Code(CodeSystem.SNOMED_CT, "40617009", "Artificial respiration")
_NOT_KNOWN = "-1"
_COLUMNS = {"RecordID", "SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death"}


class MalformedStayError(RejectedError):
    """The file is not one that the challenge would have written."""

    code = "icu.malformed_stay"


@dataclass(frozen=True, slots=True, kw_only=True)
class StayOutcome:
    """What became of a patient; days are counted from the admission to intensive care."""

    died_in_hospital: bool
    survival_days: int | None  # until death, where one is on record
    length_of_stay_days: int | None  # in hospital
    saps: int | None
    sofa: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """The first 48 hours of one stay, and its outcome where the data set tells it."""

    record_id: str
    timeline: Timeline
    outcome: StayOutcome | None
    num_refused: (
        int  # rows that are no such fact, e.g. a parameter that the challenge does not have
    )


def read_stays(archive: Path, outcomes: Path | None = None) -> list[Stay]:
    """All stays of a set, ordered by their record id.

    Raises:
        MalformedStayError: a file has another layout.
    """
    known = read_outcomes(outcomes) if outcomes is not None else {}
    stays = [_stay(name, content, known.get(name)) for name, content in _files(archive)]
    return sorted(stays, key=lambda stay: stay.record_id)


def read_outcomes(path: Path) -> dict[str, StayOutcome]:
    """The outcomes by record id; raises MalformedStayError."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        try:
            if not rows.fieldnames or not set(rows.fieldnames) >= _COLUMNS:
                raise MalformedStayError("the table of outcomes lacks columns")
            return {row["RecordID"].strip(): _outcome(row) for row in rows}
        except (KeyError, ValueError, AttributeError) as error:
            raise MalformedStayError("the table of outcomes has another layout") from error


def _outcome(row: dict[str, str]) -> StayOutcome:
    return StayOutcome(
        died_in_hospital=row["In-hospital_death"].strip() == "1",
        survival_days=_known(row["Survival"]),
        length_of_stay_days=_known(row["Length_of_stay"]),
        saps=_known(row["SAPS-I"]),
        sofa=_known(row["SOFA"]),
    )


def _known(text: str) -> int | None:
    number = int(text)
    return None if number < 0 else number


def _files(archive: Path) -> Iterator[tuple[str, bytes]]:
    if archive.is_dir():
        for path in sorted(archive.rglob("*.txt")):
            if path.stem.isdigit():
                yield path.stem, path.read_bytes()
        return
    with tarfile.open(archive, "r:*") as members:
        for member in members:
            stem = Path(member.name).stem
            file = members.extractfile(member) if stem.isdigit() else None
            if file is not None:
                yield stem, file.read()


def _stay(record_id: str, content: bytes, outcome: StayOutcome | None) -> Stay:
    digest = hashlib.sha256(content).digest()
    patient = PatientRef(SITE, record_id)
    source = _SourceOf(record_id, digest.hex(), UUID(bytes=digest[:16]), patient.patient_id)
    lines = content.decode("ascii", "replace").splitlines()
    if not lines or lines[0].strip() != "Time,Parameter,Value":
        raise MalformedStayError("the file of a stay has another layout")
    facts: dict[str, str] = {}
    events, num_refused = [], 0
    for number, line in enumerate(lines[1:], start=1):
        cells = line.strip().split(",")
        if len(cells) != 3:
            num_refused += 1
        elif cells[1] in {"RecordID", "Age", "Gender"}:
            facts[cells[1]] = cells[2]
        else:
            event = _event(source, number, *cells)
            events += [event] if event else []
            num_refused += event is None and cells[2] != _NOT_KNOWN
    events.append(_patient(source, facts))
    timeline = Timeline.of(source.patient_id, events)
    return Stay(record_id=record_id, timeline=timeline, outcome=outcome, num_refused=num_refused)


@dataclass(frozen=True, slots=True)
class _SourceOf:
    record_id: str
    digest: str
    delivery_id: UUID
    patient_id: UUID

    def row(self, number: int) -> Source:
        return Source(
            site=SITE,
            record_type="Stay",
            record_id=f"{self.record_id}-{number}",
            digest=self.digest,
            delivery_id=self.delivery_id,
        )


def _event(source: _SourceOf, number: int, time: str, parameter: str, text: str) -> Event | None:
    """The fact of one row; None where it is not known, or no fact of the challenge."""
    moment = _moment(time)
    if moment is None or text == _NOT_KNOWN:
        return None
    if parameter == "ICUType":
        if text not in ICU_TYPES:
            return None
        unit = ICU_TYPES[text]
        return _observed(source, number, moment, unit, value=True, flags={Flag.UNMAPPED_CODE})
    if parameter == "MechVent":
        return _observed(source, number, moment, VENTILATED, value=True)
    found = series().get(parameter)
    value = _number(text)
    if found is None or value is None:
        return None
    return _observed(
        source, number, moment, found.code, value=found.value(value), category=found.category
    )


def _observed(
    source: _SourceOf,
    number: int,
    moment: datetime,
    code: Code,
    *,
    value: object,
    category: str = "",
    flags: set[Flag] | None = None,
) -> Event:
    return Event(
        patient_id=source.patient_id,
        kind=EventKind.OBSERVATION,
        code=code,
        source=source.row(number),
        received_at=moment,
        occurred_at=ClinicalTime.instant(moment),
        recorded_at=moment,
        value=value,  # type: ignore[arg-type]
        category=category,
        flags=frozenset(flags or ()),
    )


def _patient(source: _SourceOf, facts: dict[str, str]) -> Event:
    """Sex, and the year of birth as far as an age in whole years tells it."""
    sex, age = _SEX.get(facts.get("Gender", "")), _number(facts.get("Age", ""))
    born = None if age is None or age < 0 else ClinicalTime.year(ADMISSION.year - int(age))
    return Event(
        patient_id=source.patient_id,
        kind=EventKind.PATIENT,
        code=Code(CodeSystem.GENDER, sex or "unknown"),
        source=source.row(0),
        received_at=ADMISSION,
        occurred_at=born,  # and known from then on, as a Patient resource is: the model sees the delay
        absent_reason="" if sex else "not stated",
        flags=frozenset() if sex else frozenset({Flag.VALUE_ABSENT}),
    )


@cache
def _moment(time: str) -> datetime | None:
    hours, _, minutes = time.partition(":")
    if not (hours.isdigit() and minutes.isdigit()):
        return None
    return ADMISSION + timedelta(hours=int(hours), minutes=int(minutes))


def _number(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None
