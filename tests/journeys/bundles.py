"""Small FHIR inputs made for these tests."""

import json
from typing import Any


def patient(record_id: str) -> dict[str, Any]:
    """A patient born in 1950."""
    return {
        "resourceType": "Patient",
        "id": record_id,
        "gender": "female",
        "birthDate": "1950-02-03",
    }


def observation(record_id: str, patient_id: str, **changes: Any) -> dict[str, Any]:
    """A heart rate."""
    return {
        "resourceType": "Observation",
        "id": record_id,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": f"Patient/{patient_id}"},
        "effectiveDateTime": "2025-06-01T08:30:00Z",
        "valueQuantity": {
            "value": 72,
            "unit": "/min",
            "system": "http://unitsofmeasure.org",
            "code": "/min",
        },
        **changes,
    }


def bundle(*resources: dict[str, Any]) -> bytes:
    """A collection of them."""
    entries = [{"resource": resource} for resource in resources]
    content = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    return json.dumps(content).encode()
