"""`fhir2meds` 0.1.0, in an environment of its own: run by another Python, it imports nothing of ours.

Its own steps in the order of its own command, with its own functions. Its wheel lacks the files of
settings that this command needs (and that its package reads when it is imported), so the package is
entered by its modules, and the table of events is given here: for the same types as `plain.py`, the
same four attributes.
"""

import contextlib
import importlib.util
import io
import json
import os
import sys
import time
import types
from pathlib import Path
from typing import Any

_CODE = ["vocab(code.coding[0].system)", "const(//)", "col(code.coding[0].code)"]


def _of(element: str) -> list[str]:
    return [each.replace("code.coding", f"{element}.coding", 1) for each in _CODE]


CONFIG: dict[str, Any] = {
    "default": {"subject_id": "", "time": ["col(effectiveDateTime)"], "code": _CODE},
    "Patient": {"time": None, "code": ["const(GENDER//)", "col(gender)"]},
    "Encounter": {"time": ["col(period.start)"], "code": _of("type[0]")},
    "Condition": {"time": ["col(onsetDateTime)", "col(recordedDate)"]},
    "Observation": {
        "numeric_value": ["col(valueQuantity.value)"],
        "text_value": ["col(valueCodeableConcept.text)"],
    },
    "Procedure": {"time": ["col(performedPeriod.start)", "col(performedDateTime)"]},
    "MedicationRequest": {
        "time": ["col(authoredOn)"],
        "code": _of("medicationCodeableConcept"),
    },
    "MedicationAdministration": {"code": _of("medicationCodeableConcept")},
    "Immunization": {"time": ["col(occurrenceDateTime)"], "code": _of("vaccineCode")},
    "DiagnosticReport": {},
    "CarePlan": {"time": ["col(period.start)"], "code": _of("category[0]")},
    "AllergyIntolerance": {"time": ["col(recordedDate)"]},
}
CONFIG["resources"] = [name for name in CONFIG if name != "default"]


def entered() -> Any:
    """The modules of the package, without what it does when it is imported."""
    spec = importlib.util.find_spec("fhir2meds")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = types.ModuleType("fhir2meds")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["fhir2meds"] = package
    modules = ("fhir_parser", "event_conversion", "meds_writer", "metadata_writer")
    return [importlib.import_module(f"fhir2meds.{name}") for name in modules]


def convert(folder: str, out: str, modules: Any) -> None:
    """What its command does once its settings are read."""
    parser, conversion, writer, metadata = modules
    resources = parser.load_fhir_resources_by_type(folder, CONFIG)
    chosen = parser.filter_subject_resources_by_type(resources)
    numbers = conversion.build_patient_id_map(os.path.join(folder, "Patient.ndjson"))  # noqa: PTH118
    events: list[dict[str, Any]] = []
    for resource_type, found in chosen.items():
        config = CONFIG[resource_type]
        mapped = [
            conversion.build_event(each, config, numbers, CONFIG["default"]) for each in found
        ]
        events += [each for each in mapped if each.get("subject_id") not in (None, "", "null")]
    writer.write_meds_sharded_parquet(events, out)
    metadata.write_dataset_metadata(output_dir=out, dataset_name="bench")
    metadata.write_codes_metadata(out, events)
    metadata.write_subject_splits(out, events)


def main() -> None:
    """Convert once, on one core, and tell how long it took and what was really written."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    modules = entered()
    folder, out = sys.argv[1], sys.argv[2]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        began = time.process_time()
        convert(folder, out, modules)
        seconds = time.process_time() - began
    import pyarrow.parquet as pq  # noqa: PLC0415 - to count, outside the measure

    shards = (Path(out) / "data").glob("*.parquet")
    rows = sum(pq.read_metadata(each).num_rows for each in shards)
    sys.stdout.write(json.dumps({"seconds": seconds, "rows": rows}))


if __name__ == "__main__":
    main()
