"""Timelines as a MEDS data set: valid by the standard's own schemas, and read again elsewhere."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from meds import (
    CodeMetadataSchema,
    DataSchema,
    DatasetMetadataSchema,
    SubjectSplitSchema,
    code_metadata_filepath,
    data_subdirectory,
    dataset_metadata_filepath,
    subject_splits_filepath,
)

from adapters.fhir.reader import BulkReader
from adapters.meds.columns import OURS
from adapters.meds.dataset import MedsDataset
from adapters.meds.errors import PlaceTakenError, SameSubjectError
from adapters.meds.files import deliveries
from adapters.meds.pseudonyms import subject_id
from adapters.meds.reader import MedsReader
from clinical.services.delivery import Reading
from clinical.services.ports import Exported
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, EventValue, Origin, Phase, Standing
from clinical.timeline.quantity import Comparator, Quantity, QuantityRange
from clinical.timeline.time import ClinicalTime
from clinical.timeline.timeline import Timeline
from pipelines.samples import synthea_bundles
from tests.adapters.fhir import records
from tests.clinical.builders import PATIENT, event
from tests.fakes import SeededIdentities, SettableClock

KEY = bytes(32)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def exported(folder: Path, *timelines: Timeline, shard_subjects: int = 1000) -> Exported:
    data_set = MedsDataset(
        folder,
        subject_of=partial(subject_id, KEY),
        about={"dataset_name": "north"},
        shard_subjects=shard_subjects,
    )
    for timeline in timelines:
        data_set.add(timeline)
    return data_set.close(AT)


def of(*events: Event) -> Timeline:
    return Timeline.of(PATIENT, events)


def table(folder: Path) -> Any:
    return pa.concat_tables(
        [pq.read_table(each) for each in sorted((folder / data_subdirectory).glob("*.parquet"))]
    )


def rows(folder: Path, *events: Event) -> list[dict[str, Any]]:
    exported(folder, of(*events))
    return table(folder).to_pylist()  # type: ignore[no-any-return]


def read(folder: Path) -> Reading:
    whole = Reading()
    for each in deliveries(
        folder, site="elsewhere", clock=SettableClock(), identities=SeededIdentities()
    ):
        reading = MedsReader().read(each)
        whole.events += reading.events
        whole.quarantined += reading.quarantined
    return whole


def synthea(count: int) -> list[Timeline]:
    found = []
    for _, (_, body) in zip(range(count), synthea_bundles(), strict=False):
        events = BulkReader().read(records.delivery(body)).events
        found.append(Timeline.of(events[0].patient_id, events))
    return found


def test_a_data_set_is_valid_by_the_schemas_of_the_standard(tmp_path: Path) -> None:
    folder = tmp_path / "north"
    timelines = synthea(5)
    done = exported(folder, *timelines, shard_subjects=2)
    shards = sorted((folder / data_subdirectory).glob("*.parquet"))
    assert [each.name for each in shards] == ["0.parquet", "1.parquet", "2.parquet"]
    for shard in shards:
        DataSchema.validate(pq.read_table(shard))
    codes = pq.read_table(folder / code_metadata_filepath)
    CodeMetadataSchema.validate(codes)
    DatasetMetadataSchema.validate(json.loads((folder / dataset_metadata_filepath).read_text()))
    splits = pq.read_table(folder / subject_splits_filepath)
    SubjectSplitSchema.validate(splits)
    whole = table(folder)
    assert set(splits["subject_id"].to_pylist()) == set(whole["subject_id"].to_pylist())
    assert set(whole["code"].to_pylist()) == set(codes["code"].to_pylist())
    assert (done.num_subjects, done.num_rows, done.num_files) == (5, whole.num_rows, 6)


def test_a_subject_is_in_one_file_together_and_in_the_order_of_time(tmp_path: Path) -> None:
    folder = tmp_path / "north"
    exported(folder, *synthea(5), shard_subjects=2)
    seen: set[int] = set()
    for shard in (folder / data_subdirectory).glob("*.parquet"):
        found = pq.read_table(shard).to_pylist()
        subjects = list(dict.fromkeys(row["subject_id"] for row in found))
        assert seen.isdisjoint(subjects)
        seen |= set(subjects)
        assert [row["subject_id"] for row in found] == sorted(
            (row["subject_id"] for row in found), key=subjects.index
        )
        for subject in subjects:
            times = [row["time"] for row in found if row["subject_id"] == subject]
            stated = [time for time in times if time is not None]
            assert times == [None] * (len(times) - len(stated)) + sorted(stated)
    assert len(seen) == 5


def test_the_same_timelines_give_the_same_files(tmp_path: Path) -> None:
    timelines = synthea(2)
    first, again = (exported(tmp_path / name, *timelines) for name in ("a", "b"))
    assert table(tmp_path / "a") == table(tmp_path / "b")
    assert first.num_rows == again.num_rows
    different = exported(tmp_path / "c", *timelines[:1])
    assert different.digest != first.digest


def fact(one: Event) -> tuple[Any, ...]:
    """What a row keeps of an event."""
    value: EventValue | tuple[Any, ...] = one.value
    if isinstance(value, Quantity):
        kept = (
            float(pa.scalar(float(value.value), pa.float32()).as_py())
            if value.is_computable
            else float(value.value)
        )
        value = (round(kept, 4), value.unit, value.comparator)
    elif isinstance(value, Code):
        value = value.key
    when = one.occurred_at
    return (
        one.kind,
        one.code.key,
        one.phase,
        one.standing,
        one.origin,
        value,
        one.status,
        one.category,
        one.absent_reason,
        (when.earliest, when.latest, when.precision) if when and "/" not in when.text else None,
        one.available_at,
    )


def test_what_was_exported_is_read_elsewhere_as_the_same_facts(tmp_path: Path) -> None:
    """All but the patient's static event, which comes back as birth and sex, for every sample."""
    folder = tmp_path / "north"
    timelines = synthea(4)
    exported(folder, *timelines)
    reading = read(folder)
    assert reading.quarantined == []
    sent = [fact(one) for each in timelines for one in each if one.kind is not EventKind.PATIENT]
    intervals = {
        one.available_at
        for each in timelines
        for one in each
        if one.occurred_at and "/" in one.occurred_at.text
    }
    got = [
        fact(one) if one.available_at not in intervals else None
        for one in reading.events
        if one.kind is not EventKind.PATIENT
    ]
    plain = [each for each in sent if each[-1] not in intervals]
    assert len(got) == len(sent)
    assert sorted(map(repr, filter(None, got))) == sorted(map(repr, plain))
    static = {one.code.key for one in reading.events if one.kind is EventKind.PATIENT}
    assert "MEDS|MEDS_BIRTH" in static
    assert static <= {"MEDS|MEDS_BIRTH", "HL7-Gender|female", "HL7-Gender|male"}


UNUSUAL = [
    {"value": Quantity(Decimal(5), "mg/dL", "mg/dL", Comparator.LESS)},
    {"value": Quantity(Decimal("7.5"), None, "blobs")},
    {"value": QuantityRange(Quantity(Decimal(1), "g", "g"), Quantity(Decimal(2), "g", "g"))},
    {"value": Code(CodeSystem.SNOMED_CT, "260385009")},
    {"value": Code("http://hospital.example/answers", "POS//1")},
    {"value": True},
    {"value": "5"},
    {"standing": Standing.REFUTED, "status": "not-done"},
    {"standing": Standing.TENTATIVE, "status": "preliminary"},
    {"origin": Origin.AI_FROM_NOTE},
    {"phase": Phase.END, "part": "end"},
    {"kind": EventKind.MEDICATION_REQUEST, "code": Code("http://hospital.example/drugs", "A//1")},
    {"occurred_at": ClinicalTime.month(2024, 2)},
    {"occurred_at": ClinicalTime.year(2023)},
    {"occurred_at": None},
    {"absent_reason": "unknown", "category": "laboratory"},
]


@pytest.mark.parametrize("changes", UNUSUAL, ids=[repr(each)[:60] for each in UNUSUAL])
def test_what_is_unusual_of_a_fact_comes_back(tmp_path: Path, changes: dict[str, Any]) -> None:
    sent = replace(event(), **changes)
    exported(tmp_path / "north", of(sent))
    (got,) = read(tmp_path / "north").events
    assert fact(got) == fact(sent)
    if isinstance(sent.value, QuantityRange | str | bool):
        assert got.value == sent.value


def test_what_is_not_plainly_so_says_so_in_its_code(tmp_path: Path) -> None:
    """A tool that looks at codes alone must not read "not done" as done."""
    found = rows(
        tmp_path / "north",
        event("a"),
        event("b", standing=Standing.REFUTED),
        event("c", standing=Standing.TENTATIVE, phase=Phase.START),
    )
    assert {row["code"] for row in found} == {
        "OBSERVATION//LOINC//2339-0",
        "OBSERVATION//LOINC//2339-0//REFUTED",
        "OBSERVATION//LOINC//2339-0//START//TENTATIVE",
    }


def test_what_software_read_from_a_note_is_marked(tmp_path: Path) -> None:
    (row,) = rows(tmp_path / "north", event(origin=Origin.AI_FROM_NOTE))
    assert row["origin"] == "ai_from_note"
    told = json.loads((tmp_path / "north" / dataset_metadata_filepath).read_text())
    assert "origin" in told["code_modifier_columns"]


def test_only_what_may_be_computed_with_is_a_number(tmp_path: Path) -> None:
    found = rows(
        tmp_path / "north",
        event("a", value="90"),
        event("b", value=None),
        replace(event("c"), value=Quantity(Decimal(5), None, "blobs")),
        replace(event("d"), value=Quantity(Decimal(5), "mg/dL", "mg/dL", Comparator.LESS)),
    )
    values = {(row["numeric_value"], row["text_value"], row["unit"]) for row in found}
    assert values == {
        (90.0, None, "mg/dL"),
        (None, None, None),
        (None, "5", "blobs"),
        (None, "<5", "mg/dL"),
    }


def test_a_fact_without_a_time_is_dated_from_when_it_was_known_and_is_not_static(
    tmp_path: Path,
) -> None:
    """A null time would let a model see it from the first day on."""
    (row,) = rows(tmp_path / "north", event(occurred_at=None, recorded=5))
    assert row["time"] == row["available_time"] == datetime(2024, 3, 1, 13)  # noqa: DTZ001
    assert row["time_precision"] is None


def test_what_was_withdrawn_and_what_was_replaced_is_not_exported(tmp_path: Path) -> None:
    found = rows(
        tmp_path / "north",
        event("a", value="1", content="v1", updated=0),
        event("a", value="2", content="v2", updated=5),
        event("b", content="v1", updated=0),
        event("b", content="v2", updated=5, standing=Standing.RETRACTED),
    )
    assert [row["numeric_value"] for row in found] == [2.0]


def test_codes_are_told_in_words_and_linked_to_their_terminology(tmp_path: Path) -> None:
    rows(tmp_path / "north", event("a"), event("b", code=Code("http://h.example", "X", "Local")))
    codes = pq.read_table(tmp_path / "north" / code_metadata_filepath).to_pylist()
    assert codes == [
        {
            "code": "OBSERVATION//LOINC//2339-0",
            "description": "Glucose",
            "parent_codes": ["LOINC/2339-0"],
        },
        {"code": "OBSERVATION//http://h.example//X", "description": "Local", "parent_codes": []},
    ]


def test_subjects_are_numbered_alike_under_one_key_and_otherwise_under_another() -> None:
    first, other = subject_id(KEY, PATIENT), subject_id(bytes(31) + b"1", PATIENT)
    assert first == subject_id(KEY, PATIENT)
    assert first != other
    assert 0 <= first < 2**63
    assert subject_id(KEY, UUID(int=1)) != subject_id(KEY, UUID(int=2))


def test_two_patients_with_one_number_stop_the_export(tmp_path: Path) -> None:
    data_set = MedsDataset(tmp_path / "north", subject_of=lambda _: 7, about={})
    first, second = synthea(2)
    data_set.add(first)
    with pytest.raises(SameSubjectError):
        data_set.add(second)
    data_set.abandon()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    exported(tmp_path / "north", *synthea(1))
    with pytest.raises(PlaceTakenError):
        exported(tmp_path / "north")


def test_a_data_set_of_nobody_is_valid_too(tmp_path: Path) -> None:
    done = exported(tmp_path / "north")
    assert done.num_subjects == 0
    DataSchema.validate(table(tmp_path / "north"))


def test_neither_ids_of_the_site_nor_of_ours_are_in_the_rows(tmp_path: Path) -> None:
    sent = event("record-of-the-ehr", encounter="Encounter/e-of-the-ehr")
    (row,) = rows(tmp_path / "north", sent)
    told = repr(row)
    for secret in (str(PATIENT), "record-of-the-ehr", "e-of-the-ehr", sent.source.digest):
        assert secret not in told


def test_a_row_of_ours_that_says_what_cannot_be_is_quarantined(tmp_path: Path) -> None:
    exported(tmp_path / "north", of(event("a", value="90"), event("b", at=1), event("c", at=2)))
    path = tmp_path / "north/data/0.parquet"
    found = pq.read_table(path).to_pylist()
    found[0]["kind"] = "nonsense"
    found[1]["value_type"], found[1]["text_value"] = "quantity", "many"
    pq.write_table(pa.Table.from_pylist(found, schema=pq.read_schema(path)), path)
    reading = read(tmp_path / "north")
    assert len(reading.events) == 1
    assert {each.reason_code for each in reading.quarantined} == {"meds.incomplete_row"}


def test_a_table_that_lacks_one_of_our_columns_is_read_by_its_codes(tmp_path: Path) -> None:
    exported(tmp_path / "north", of(event("a", value="90")))
    path = tmp_path / "north/data/0.parquet"
    pq.write_table(pq.read_table(path).drop_columns([OURS[0]]), path)
    (got,) = read(tmp_path / "north").events
    assert got.code.key == "OBSERVATION|LOINC//2339-0"
