"""MEDS tables become events: real rows of MIMIC-IV, and the standard's own layout."""

import hashlib
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.meds.codes import meaning
from adapters.meds.errors import NothingToImportError
from adapters.meds.files import ARROW, PARQUET, deliveries, is_meds
from adapters.meds.reader import MedsReader
from clinical.services.delivery import Delivery, Door, Reading
from clinical.timeline.event import EventKind, Flag, Phase, Standing
from clinical.timeline.patient import PatientRef
from clinical.timeline.quantity import Quantity
from tests.fakes import SeededIdentities, SettableClock

EXTRACT = Path(__file__).parent / "mimic-iv-demo-extract.parquet"
NOON = datetime(2024, 3, 1, 12)  # noqa: DTZ001 - MEDS times have no zone


def found_in(path: Path) -> list[Delivery]:
    return list(deliveries(path, site="icu", clock=SettableClock(), identities=SeededIdentities()))


def read(path: Path) -> Reading:
    readings = [MedsReader().read(each) for each in found_in(path)]
    whole = Reading()
    for reading in readings:
        whole.events += reading.events
        whole.quarantined += reading.quarantined
        whole.patients |= reading.patients
        whole.counts += reading.counts
    return whole


def written(folder: Path, name: str = "data/train/0.parquet", **columns: list[Any]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return folder


def one(tmp_path: Path, code: str, value: float | None = None) -> Reading:
    numbers = pa.array([value], pa.float32())
    return read(written(tmp_path, subject_id=[1], time=[NOON], code=[code], numeric_value=numbers))


def test_every_real_row_becomes_an_event_of_its_patient() -> None:
    reading = read(EXTRACT)
    table = pq.read_table(EXTRACT)
    assert len(reading.events) == table.num_rows
    assert reading.quarantined == []
    subjects = {str(each) for each in table["subject_id"].to_pylist()}
    assert {ref.record_id for ref in reading.patients.values()} == subjects
    kinds = {event.kind for event in reading.events}
    assert {
        EventKind.PATIENT,
        EventKind.DEATH,
        EventKind.ENCOUNTER,
        EventKind.CONDITION,
        EventKind.OBSERVATION,
        EventKind.MEDICATION_REQUEST,
    } <= kinds


def test_deliveries_end_where_a_subject_ends_and_hold_what_the_file_holds() -> None:
    found = found_in(EXTRACT)
    tables = [pa.ipc.open_stream(each.body).read_all() for each in found]
    subjects = [set(table["subject_id"].to_pylist()) for table in tables]
    assert sum(map(len, subjects)) == len(set().union(*subjects))
    assert sum(table.num_rows for table in tables) == pq.read_table(EXTRACT).num_rows
    for each in found:
        assert (each.door, each.content_type) == (Door.MEDS, ARROW)
        assert each.sender_id == hashlib.sha256(each.body).hexdigest()
    assert found_in(EXTRACT) == found


def test_the_standard_layout_is_read_with_numbers_and_texts(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "subject_id": pa.array([7, 7, 7], pa.int64()),
        "time": pa.array([None, NOON, NOON], pa.timestamp("us")),
        "code": ["GENDER//F", "LOINC//718-7//g/dL", "LOINC//5778-6"],
        "numeric_value": pa.array([None, 13.9, None], pa.float32()),
        "text_value": pa.array([None, None, "yellow"], pa.large_string()),
    }
    folder = written(tmp_path, **columns)
    written(folder, "metadata/codes.parquet", code=["x"])
    assert is_meds(folder)
    gender, haemoglobin, colour = read(folder).events
    assert (gender.code.key, gender.occurred_at) == ("HL7-Gender|female", None)
    assert haemoglobin.code.key == "LOINC|718-7"
    assert haemoglobin.value == Quantity(Decimal("13.9"), "g/dL", "g/dL")
    assert colour.value == "yellow"
    assert colour.patient_id == PatientRef("icu", "7").patient_id


def test_a_time_is_read_as_utc_and_says_that_no_zone_was_stated(tmp_path: Path) -> None:
    (event,) = one(tmp_path, "LOINC//718-7", 1.0).events
    assert event.occurred_at is not None
    assert event.occurred_at.earliest == NOON.replace(tzinfo=UTC)
    assert event.occurred_at.text == "2024-03-01T12:00:00 (no zone stated)"


def test_a_row_without_a_time_is_dated_with_the_birth(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "subject_id": [1, 1],
        "time": pa.array([None, NOON], pa.timestamp("us")),
        "code": ["GENDER//M", "MEDS_BIRTH"],
    }
    gender, birth = read(written(tmp_path, **columns)).events
    assert gender.occurred_at == birth.occurred_at


@pytest.mark.parametrize(
    ("code", "kind", "key", "phase"),
    [
        ("MEDS_BIRTH", EventKind.PATIENT, "MEDS|MEDS_BIRTH", Phase.POINT),
        ("MEDS_DEATH", EventKind.DEATH, "MEDS|MEDS_DEATH", Phase.POINT),
        ("LAB//50912//mg/dL", EventKind.OBSERVATION, "MIMIC|50912", Phase.POINT),
        ("DIAGNOSIS//ICD//9//5715", EventKind.CONDITION, "ICD-9-CM|571.5", Phase.POINT),
        ("DIAGNOSIS//ICD//9//E8490", EventKind.CONDITION, "ICD-9-CM|E849.0", Phase.POINT),
        ("DIAGNOSIS//ICD//10//E119", EventKind.CONDITION, "ICD-10-CM|E11.9", Phase.POINT),
        ("DIAGNOSIS//ICD//10//I10", EventKind.CONDITION, "ICD-10-CM|I10", Phase.POINT),
        ("PROCEDURE//ICD//9//5491", EventKind.PROCEDURE, "ICD-9-PCS|5491", Phase.POINT),
        ("PROCEDURE//START//224275", EventKind.PROCEDURE, "MIMIC|224275", Phase.START),
        ("PROCEDURE//END//224275", EventKind.PROCEDURE, "MIMIC|224275", Phase.END),
        ("INFUSION_END//226452", EventKind.MEDICATION_ADMINISTRATION, "MIMIC|226452", Phase.END),
        ("MEDICATION//START//Heparin", EventKind.MEDICATION_REQUEST, "MIMIC|Heparin", Phase.START),
        ("MEDICATION//STOP//Heparin", EventKind.MEDICATION_REQUEST, "MIMIC|Heparin", Phase.END),
        (
            "HOSPITAL_DISCHARGE//HOME",
            EventKind.ENCOUNTER,
            "MIMIC|HOSPITAL_DISCHARGE//HOME",
            Phase.END,
        ),
        ("RxNorm//1191", EventKind.MEDICATION_STATEMENT, "RxNorm|1191", Phase.POINT),
        ("ICD10CM//E11.9", EventKind.CONDITION, "ICD-10-CM|E11.9", Phase.POINT),
        ("OURS//x//y", EventKind.OBSERVATION, "OURS|x//y", Phase.POINT),
        ("mystery", EventKind.OBSERVATION, "|mystery", Phase.POINT),
        ("LOINC//", EventKind.OBSERVATION, "LOINC|LOINC//", Phase.POINT),
    ],
)
def test_a_code_string_says_kind_code_and_phase(
    code: str, kind: EventKind, key: str, phase: Phase
) -> None:
    said = meaning(code)
    assert (said.kind, said.code.key, said.phase) == (kind, key, phase)


def test_a_medication_that_was_not_given_is_refuted() -> None:
    assert meaning("MEDICATION//Heparin//Administered").standing is Standing.ASSERTED
    assert meaning("MEDICATION//Heparin//Not Given").standing is Standing.REFUTED


def test_unknown_units_and_systems_are_kept_flagged_and_counted(tmp_path: Path) -> None:
    reading = one(tmp_path, "LAB//1//blobs", 2.5)
    (event,) = reading.events
    assert event.value == Quantity(Decimal("2.5"), None, "blobs")
    assert event.flags == {Flag.UNKNOWN_UNIT}
    assert reading.counts["unmapped_unit:blobs"] == 1
    reading = one(tmp_path, "OURS//1")
    assert reading.events[0].flags == {Flag.UNMAPPED_CODE}
    assert reading.counts["unmapped_system:OURS"] == 1


def test_the_same_row_is_the_same_fact_wherever_it_stands(tmp_path: Path) -> None:
    first = one(tmp_path / "a", "LOINC//718-7", 13.9).events
    rows: dict[str, Any] = {
        "subject_id": [1, 1],
        "time": [NOON, NOON],
        "code": ["LOINC//1-1", "LOINC//718-7"],
        "numeric_value": pa.array([None, 13.9], pa.float32()),
    }
    second = read(written(tmp_path / "b", **rows)).events
    assert first[0].event_id == second[1].event_id


def test_a_row_without_subject_or_code_is_quarantined_and_the_rest_goes_on(tmp_path: Path) -> None:
    rows: dict[str, Any] = {
        "subject_id": pa.array([1, None, 1, 1], pa.int64()),
        "time": [NOON] * 4,
        "code": ["LOINC//1-1", "LOINC//1-1", None, "a\0b"],
    }
    reading = read(written(tmp_path, **rows))
    assert len(reading.events) == 1
    assert {each.reason_code for each in reading.quarantined} == {"meds.incomplete_row"}
    assert len(reading.quarantined) == 3


def test_a_table_that_is_not_meds_is_quarantined(tmp_path: Path) -> None:
    reading = read(written(tmp_path, subject_id=[1], code=["x"]))
    assert reading.quarantined[0].reason_code == "meds.not_meds"
    other = read(written(tmp_path / "b", subject_id=[1], code=["x"], time=["yesterday"]))
    assert other.quarantined[0].reason_code == "meds.not_meds"


def test_a_truncated_parquet_file_is_kept_and_quarantined(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(EXTRACT.read_bytes()[:-100])
    (found,) = found_in(path)
    assert found.body == path.read_bytes()
    assert MedsReader().read(found).quarantined[0].reason_code == "meds.not_readable"


def test_a_path_without_parquet_is_a_named_error(tmp_path: Path) -> None:
    assert not is_meds(tmp_path)
    with pytest.raises(NothingToImportError):
        found_in(tmp_path)


def test_a_whole_parquet_file_is_read_as_a_delivery_too() -> None:
    (as_stream, *_), body = found_in(EXTRACT), EXTRACT.read_bytes()
    delivery = Delivery(
        delivery_id=as_stream.delivery_id,
        site="icu",
        door=Door.MEDS,
        sender_id="x",
        body=body,
        content_type=PARQUET,
        received_at=as_stream.received_at,
    )
    ids = {event.event_id for event in MedsReader().read(delivery).events}
    assert ids == {event.event_id for event in read(EXTRACT).events}


@given(st.text(max_size=30))
def test_any_code_string_means_something(code: str) -> None:
    assert meaning(code).code.value or not code


@given(st.binary(max_size=200))
def test_any_bytes_are_quarantined(body: bytes) -> None:
    for content_type in (ARROW, PARQUET):
        delivery = Delivery(
            delivery_id=SeededIdentities().new(),
            site="icu",
            door=Door.MEDS,
            sender_id="x",
            body=io.BytesIO(body).getvalue(),
            content_type=content_type,
            received_at=SettableClock().now(),
        )
        assert len(MedsReader().read(delivery).quarantined) == 1
