"""Plain: every line is validated with `fhir.resources`, and four attributes of it become a row.

The least that can be done with the library: one row for a resource, types that give no row are not
opened, nothing is checked, dated by availability, or sorted beyond subject and time. With `--every`
as first argument the lines of the other types are validated too, as whoever reads what comes does.
"""

import json
import os
import sys
import time
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from adapters.fhir.release import resource_class

TIMES = {
    "Patient": ("birthDate",),
    "Encounter": ("period.start",),
    "Condition": ("onsetDateTime", "recordedDate"),
    "Observation": ("effectiveDateTime",),
    "Procedure": ("performedPeriod.start", "performedDateTime"),
    "MedicationRequest": ("authoredOn",),
    "Immunization": ("occurrenceDateTime",),
    "DiagnosticReport": ("effectiveDateTime",),
    "CarePlan": ("period.start",),
    "AllergyIntolerance": ("recordedDate",),
    "MedicationAdministration": ("effectiveDateTime",),
}
"""The types that give rows, with where their time is."""
CODES = {
    "Encounter": "type",
    "MedicationRequest": "medicationCodeableConcept",
    "MedicationAdministration": "medicationCodeableConcept",
    "Immunization": "vaccineCode",
    "CarePlan": "category",
}
SCHEMA = pa.schema(
    [
        ("subject_id", pa.int64()),
        ("time", pa.timestamp("us")),
        ("code", pa.string()),
        ("numeric_value", pa.float32()),
        ("text_value", pa.large_string()),
    ]
)


def convert(folder: Path, out: Path, *, is_every_line: bool = False) -> int:
    """Write the data set; the number of its rows."""
    if is_every_line:
        for path in sorted(folder.glob("*.ndjson")):
            _validate_others(path)
    rows: list[tuple[Any, ...]] = []
    subjects: dict[str, int] = {}
    for resource_type in TIMES:
        path = folder / f"{resource_type}.ndjson"
        if not path.exists():
            continue
        model = resource_class(resource_type)
        with path.open("rb") as lines:
            rows += (
                _row(model.model_validate_json(line), resource_type, subjects) for line in lines
            )
    rows.sort(key=lambda row: (row[0], row[1] or datetime.min))  # noqa: DTZ901 - without a zone
    (out / "data").mkdir(parents=True)
    columns = [pa.array(v, f.type) for v, f in zip(zip(*rows, strict=True), SCHEMA, strict=True)]
    pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), out / "data" / "0.parquet")
    return len(rows)


def _validate_others(path: Path) -> None:
    if path.stem in TIMES:
        return
    model = resource_class(path.stem)
    with path.open("rb") as lines:
        for line in lines:
            model.model_validate_json(line)


def _row(resource: Any, resource_type: str, subjects: dict[str, int]) -> tuple[Any, ...]:
    if resource_type == "Patient":
        name, code = resource.id, f"GENDER//{resource.gender}"
    else:
        subject = getattr(resource, "subject", None) or resource.patient
        name, code = subject.reference.rpartition("/")[2], _code(resource, resource_type)
    amount = getattr(resource, "valueQuantity", None)
    words = getattr(resource, "valueCodeableConcept", None)
    return (
        subjects.setdefault(name, len(subjects)),
        next((time for path in TIMES[resource_type] if (time := _time(resource, path))), None),
        code,
        float(amount.value) if amount is not None else None,
        words.text if words is not None else None,
    )


def _code(resource: Any, resource_type: str) -> str:
    concept = getattr(resource, CODES.get(resource_type, "code"))
    concept = concept[0] if isinstance(concept, list) else concept
    coding = concept.coding[0]
    return f"{coding.system}//{coding.code}"


def _time(resource: Any, path: str) -> datetime | None:
    found = resource
    for step in path.split("."):
        found = getattr(found, step, None)
    if isinstance(found, datetime):
        return found.replace(tzinfo=None) - (found.utcoffset() or datetime.resolution * 0)
    return datetime(found.year, found.month, found.day) if isinstance(found, date) else None  # noqa: DTZ001


def main() -> None:
    """Convert once, on one core, and tell how long it took."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    *options, folder, out = sys.argv[1:]
    for path in Path(folder).glob("*.ndjson"):
        resource_class(path.stem)  # imports are not counted
    began = time.process_time()
    rows = convert(Path(folder), Path(out), is_every_line="--every" in options)
    sys.stdout.write(json.dumps({"seconds": time.process_time() - began, "rows": rows}))


if __name__ == "__main__":
    main()
