"""Each case in tests/golden/fhir: a Bundle, what it tells of the patient and from when, and why."""

import json
from pathlib import Path
from typing import Any

import pytest

from clinical.services.delivery import Reading
from clinical.timeline.code import Code
from clinical.timeline.event import Event
from clinical.timeline.quantity import Quantity
from clinical.timeline.timeline import Known, Timeline
from tests.adapters.fhir import records

GOLDEN = Path(__file__).parents[2] / "golden" / "fhir"
CASES = sorted(each for each in GOLDEN.iterdir() if each.is_dir())


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_bundle_tells_what_its_case_says(case: Path) -> None:
    reading = records.in_both_lanes((case / "bundle.json").read_bytes())
    assert told(reading) == json.loads((case / "timeline.json").read_text())
    assert (case / "README.md").read_text().startswith("# ")


def told(reading: Reading) -> dict[str, Any]:
    """What a reading says, in the words of the cases."""
    known: list[dict[str, Any]] = []
    for patient_id in {event.patient_id for event in reading.events}:
        timeline = Timeline.of(patient_id, reading.events)
        standing = {event.event_id for event in timeline}
        known += [_row(each, each.event.event_id in standing) for each in timeline.versions]
    return {
        "known": known,
        "quarantined": [[q.position, q.reason_code, q.detail] for q in reading.quarantined],
        "counts": dict(sorted(reading.counts.items())),
    }


def _row(known: Known, stands: bool) -> dict[str, Any]:
    event = known.event
    row = {
        "known_at": known.at.isoformat(),
        "what": f"{event.kind} {event.code.key}",
        "from": event.source.reference,
        "part": event.part,
        "occurred": event.occurred_at.text if event.occurred_at else None,
        "value": _value(event),
        "status": event.status,
        "standing": event.standing.value,
        "other_codes": [code.key for code in event.other_codes],
        "flags": sorted(event.flags),
        "stands_now": stands,
    }
    return {name: value for name, value in row.items() if value not in (None, "", [])}


def _value(event: Event) -> str | None:
    match event.value:
        case None:
            return None
        case Quantity(value=value, unit=unit, comparator=comparator):
            return f"{comparator or ''}{value} {unit or '?'}"
        case Code():
            return event.value.key
        case _:
            return str(event.value)
