"""One response of `generate-normalized-data` per dated version of Nabla's API, written from facts alone.

Each names what is new in it. The patient, the encounter and all codes in them are made up.
"""

from typing import Any

ICD = "http://hl7.org/fhir/sid/icd-10-cm"
LOINC = "http://loinc.org"
UCUM = "https://ucum.org"
PRESSURE = {"system": LOINC, "code": "8480-6", "display": "Systolic blood pressure"}


def _response(condition: dict[str, Any], in_family: dict[str, Any]) -> dict[str, Any]:
    stated = {"clinical_status": "ACTIVE", "categories": ["ENCOUNTER_DIAGNOSIS"]}
    return {
        "conditions": [stated | condition],
        "family_history": [{"relationship": "MOTHER", "conditions": [stated | in_family]}],
        "observations": [
            {
                "coding": PRESSURE,
                "value_quantity": {
                    "value": 13,
                    "system": UCUM,
                    "unit": "CENTIMETERS_OF_MERCURY",
                    "code": "cm[Hg]",
                },
                "note": "SECRET words",
            }
        ],
    }


_PLAIN = {"system": ICD, "code": "E11.9", "display": "Type 2 diabetes"}
_FAMILY = {"coding": {"system": ICD, "code": "C50.9", "display": "Breast cancer"}}
_FLAGS = {"is_hcc": True, "is_mcc": False}
_PROBLEM = {"corresponding_note_problem": "SECRET words"}
_BEFORE_2026 = _response({"coding": _PLAIN, **_PROBLEM, **_FLAGS}, _FAMILY)
_SINCE_2026 = _response(
    {
        "coding": _PLAIN | _FLAGS,
        "alternative_coding": [
            {"system": ICD, "code": "E11.8", "display": "Type 2 diabetes", **_FLAGS}
        ],
        "corresponding_note_problem": None,
    },
    {"coding": _FAMILY["coding"] | _FLAGS, "alternative_coding": []},
)

RESPONSES: dict[str, dict[str, Any]] = {
    "2024-10-01": _response({"coding": _PLAIN}, _FAMILY),
    "2025-05-05": _response({"coding": _PLAIN, **_PROBLEM}, _FAMILY),  # the problem in the note
    "2025-05-21": _BEFORE_2026,  # is_hcc and is_mcc, beside the coding
    "2025-08-05": _BEFORE_2026,  # news in the request alone
    "2025-11-14": _BEFORE_2026,  # likewise
    "2026-02-20": _SINCE_2026,  # is_hcc and is_mcc within the coding; alternative codings
    "2026-04-24": _SINCE_2026,
    "2026-07-01": _SINCE_2026,  # news in the request alone, as far as is known
}
