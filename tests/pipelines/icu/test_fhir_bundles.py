"""Stays as FHIR: exact units, sums that are whole, nothing left out uncounted; and the extract that ships."""

import hashlib
import json
import tarfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from adapters.fhir.reader import BulkReader
from clinical.services.delivery import Delivery, Door, Reading
from clinical.timeline.event import EventKind
from clinical.timeline.quantity import Quantity
from pipelines.icu.extract import ARCHIVE, COUNTS
from pipelines.icu.fhir_bundles import Written, bundle
from pipelines.icu.mimic import IcuStay, Row, choose
from pipelines.samples import FOLDER, icu_bundles

ADMITTED = datetime(2150, 3, 1, 8, tzinfo=UTC)


def stay(*facts: tuple[str, str | None], **changes: Any) -> IcuStay:
    """Facts charted one hour after the admission."""
    fields: dict[str, Any] = {
        "subject": "7",
        "is_female": True,
        "born": 2090,
        "unit": "Medical Intensive Care Unit (MICU)",
        "admitted": ADMITTED,
        "left": ADMITTED + timedelta(hours=50),
        "discharged": ADMITTED + timedelta(hours=90),
        "has_died": False,
        "rows": tuple(Row("7", ADMITTED + timedelta(hours=1), code, n) for code, n in facts),
    }
    return IcuStay(**(fields | changes))


def written(*facts: tuple[str, str | None]) -> tuple[dict[str, list[Any]], Written]:
    """The values of the observations by display, and what became of the rows."""
    counts = Written()
    entries = json.loads(bundle(stay(*facts), counts))["entry"]
    found: dict[str, list[Any]] = {}
    for resource in (entry["resource"] for entry in entries):
        if resource["resourceType"] == "Observation" and resource["id"] != "7-unit":
            (coding,) = resource["code"]["coding"]
            quantity = resource.get("valueQuantity", {})
            value = quantity.get("value", resource.get("valueBoolean"))
            found.setdefault(coding["display"], []).append((value, quantity.get("code")))
    return found, counts


def read(body: bytes) -> Reading:
    return BulkReader().read(
        Delivery(
            delivery_id=UUID(int=1),
            site="icu",
            door=Door.FHIR_BULK,
            sender_id=hashlib.sha256(body).hexdigest(),
            body=body,
            content_type="application/fhir+json",
            received_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
    )


@pytest.mark.parametrize(
    ("code", "number", "display", "value"),
    [
        ("LAB//220045//bpm", "88.0", "Heart rate", (88, "/min")),
        ("LAB//223761//°F", "98.6", "Body temperature", (37, "Cel")),
        ("LAB//223761//°F", "98.4", "Body temperature", (36.8888889, "Cel")),
        ("LAB//223835//UNK", "40.0", "Inspired oxygen", (0.4, "1")),
        ("LAB//50971//mEq/L", "4.1", "Potassium", (4.1, "mmol/L")),
        ("LAB//224685//mL", "420.0", "Artificial respiration", (True, None)),
    ],
)
def test_a_value_is_taken_into_the_unit_of_the_table_exactly(
    code: str, number: str, display: str, value: Any
) -> None:
    found, counts = written((code, number))
    assert found == {display: [value]}
    assert counts.left_out.total() == 0


def test_the_coma_score_is_the_sum_of_its_parts_where_all_were_charted() -> None:
    parts = [("LAB//220739//UNK", "4.0"), ("LAB//223900//UNK", "1.0"), ("LAB//223901//UNK", "6.0")]
    found, _ = written(*parts)
    assert found == {"Glasgow coma score": [(11, "{score}")]}
    found, counts = written(*parts[:2])
    assert found == {}
    assert counts.left_out == {"a part is missing: Glasgow coma score": 2}


def test_what_is_left_out_is_counted_by_its_reason() -> None:
    found, counts = written(
        ("LAB//220045//bpm", "9999.0"),
        ("LAB//220045//bpm", None),
        ("LAB//220277//%", "98.0"),
        ("LAB//223761//UNK", "98.6"),  # another unit than the table's
    )
    assert found == {}
    assert counts.left_out == {
        "no living patient could have it: Heart rate": 1,
        "no number: Heart rate": 1,
        "not in the table": 2,
    }


def test_two_values_of_one_item_at_one_time_are_both_kept() -> None:
    found, _ = written(("LAB//220045//bpm", "88.0"), ("LAB//220045//bpm", "91.0"))
    assert found == {"Heart rate": [(88, "/min"), (91, "/min")]}


def test_a_death_in_hospital_is_said_by_patient_and_encounter() -> None:
    body = bundle(stay(has_died=True), Written())
    kinds = Counter(event.kind for event in read(body).events)
    assert kinds[EventKind.DEATH] == 1
    assert b'"code":"exp"' in body
    assert b"deceased" not in bundle(stay(), Written())


def test_the_choice_does_not_depend_on_the_order_it_is_given() -> None:
    stays = [stay(subject=str(n), has_died=n % 3 == 0) for n in range(40)]
    assert choose(stays) == choose(stays[::-1])
    assert {s.has_died for s in choose(stays)} == {True, False}


def test_the_shipped_stays_are_read_whole_with_every_unit_and_code_known() -> None:
    readings = [read(body) for _, body in icu_bundles()]
    assert len(readings) == 24
    events = [event for reading in readings for event in reading.events]
    assert [q for reading in readings for q in reading.quarantined] == []
    counts = sum((reading.counts for reading in readings), Counter())
    assert [key for key in counts if key.startswith("unmapped_unit")] == []
    quantities = [event.value for event in events if isinstance(event.value, Quantity)]
    assert all(quantity.unit is not None for quantity in quantities)
    assert sum(event.kind is EventKind.DEATH for event in events) == 9


def test_the_shipped_stays_come_with_their_licence_their_source_and_their_counts() -> None:
    folder = FOLDER / "icu"
    notice = (folder / "LICENSE").read_text("utf-8")
    assert "Open Database License" in notice
    assert "http://opendatacommons.org/licenses/odbl/1.0/" in notice
    for text in (notice, (folder / "README.md").read_text("utf-8")):
        assert "10.13026/t2y8-ea41" in text
    counts = json.loads((folder / COUNTS).read_text("utf-8"))
    assert counts["stays"] == 24
    num_facts = sum(body.count(b'"Observation"') for _, body in icu_bundles())
    num_units = sum(body.count(b"challenge-2012/icu-type") for _, body in icu_bundles())
    assert sum(counts["kept"].values()) == num_facts - num_units
    with tarfile.open(folder / ARCHIVE) as archive:
        assert {(m.mtime, m.uid, m.uname) for m in archive} == {(0, 0, "")}
