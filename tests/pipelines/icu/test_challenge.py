"""The challenge's files become timelines: nothing guessed, what is not known stays out."""

import io
import tarfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.units import ucum_code
from clinical.timeline.code import CodeSystem
from clinical.timeline.event import EventKind
from clinical.timeline.quantity import Quantity
from pipelines.icu.challenge import ADMISSION, MalformedStayError, read_outcomes, read_stays
from pipelines.icu.series import series

STAY = """Time,Parameter,Value
00:00,RecordID,132539
00:00,Age,54
00:00,Gender,0
00:00,Height,-1
00:00,ICUType,4
00:00,Weight,-1
00:07,GCS,15
00:37,pH,735
00:37,Urine,900
00:37,Urine,60
47:37,K,4.10
02:00,Unheard,3
02:00,HR,fast
nonsense
"""
OUTCOMES = """RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death
132539,6,-1,5,-1,0
132540,16,8,8,4,1
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "set.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo("set/132539.txt")
        member.size = len(STAY)
        file.addfile(member, io.BytesIO(STAY.encode()))
    return path


def test_a_stay_becomes_a_timeline_from_admission_on(archive: Path) -> None:
    [stay] = read_stays(archive)
    by_code = {e.code.value: e for e in stay.timeline}
    potassium = by_code["2823-3"]
    assert potassium.value == Quantity(Decimal("4.10"), "mmol/L")
    assert potassium.available_at == ADMISSION + timedelta(hours=47, minutes=37)
    [patient] = [e for e in stay.timeline if e.kind is EventKind.PATIENT]
    assert patient.code.value == "female"
    assert patient.occurred_at is not None
    assert patient.occurred_at.earliest.year <= 1958 <= patient.occurred_at.latest.year


def test_two_values_of_one_moment_both_stand(archive: Path) -> None:
    [stay] = read_stays(archive)
    values = [e.value.value for e in stay.timeline if isinstance(e.value, Quantity)]
    assert {Decimal(900), Decimal(60)} <= set(values)


def test_what_is_not_known_or_no_fact_stays_out_and_is_counted(archive: Path) -> None:
    [stay] = read_stays(archive)
    codes = {e.code.value for e in stay.timeline}
    assert not codes & {"8302-2", "29463-7"}
    assert stay.num_refused == 3


def test_a_value_that_nobody_alive_has_is_kept_as_text_and_never_computed_with(
    archive: Path,
) -> None:
    [stay] = read_stays(archive)
    [acidity] = [e for e in stay.timeline if e.code.value == "2744-1"]
    assert acidity.value == "735"


def test_outcomes_tell_unknown_from_zero(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "o.txt").write_text(OUTCOMES)
    [stay] = read_stays(archive, tmp_path / "o.txt")
    assert stay.outcome is not None
    assert (stay.outcome.sofa, stay.outcome.survival_days) == (None, None)
    assert read_outcomes(tmp_path / "o.txt")["132540"].died_in_hospital


def test_another_layout_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text("a,b\n")
    with pytest.raises(MalformedStayError):
        read_stays(tmp_path)
    with pytest.raises(MalformedStayError):
        read_outcomes(tmp_path / "1.txt")


@pytest.mark.parametrize("name", sorted(series()))
def test_every_code_of_the_table_is_a_loinc_code_with_a_ucum_unit(name: str) -> None:
    row = series()[name]
    body, _, check = row.code.value.partition("-")
    assert row.code.system == CodeSystem.LOINC
    assert int(check) == _mod10(body)
    assert row.unit == "1" or ucum_code(row.unit) == row.unit
    assert row.low < row.high


def _mod10(digits: str) -> int:
    """The check digit of LOINC (Luhn)."""
    doubled = [int(d) * (2 if place % 2 == 0 else 1) for place, d in enumerate(reversed(digits))]
    return -sum(d // 10 + d % 10 for d in doubled) % 10
