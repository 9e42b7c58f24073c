"""Validators that nobody here wrote, asked together: what we emit must be valid for each of them.

fhirkit-rs knows structure, the JSON Schema of R4 knows the required codes, fhir.resources (R4B, whose
classes are R4's in our scope) knows references' shapes, and medplum, in Node, the invariants. None
alone is enough (design 03 section 6.3). Medplum is asked where `npm install --prefix
tests/conformance` was run. Two false alarms are named here, and nothing else is excused.
"""

import json
import lzma
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import fhirkit
import jsonschema_rs
from fhir.resources.R4B import get_fhir_model_class

HERE = Path(__file__).parent
Json = dict[str, Any]

# ras-2 holds a decimal to be at most 100; medplum says it of a prediction that has no decimal.
_FALSE_ALARM = "ras-2"
# The JSON Schema was published with R4 4.0.0 and never learned the number of its technical correction.
_OLDER_THAN = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"}


def assert_valid_everywhere(resource: Json) -> None:
    """Hold it to every validator there is here; also that it says nothing with null or nothing at all."""
    text = json.dumps(resource)
    assert list(fhirkit.validate(text)) == []
    assert schema_errors(resource) == []
    get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    assert empty_members(resource) == []
    if has_medplum():
        assert medplum_errors(resource) == []


def schema_errors(resource: Json) -> list[str]:
    """What the JSON Schema of R4 finds wrong."""
    excused = ["fhirVersion"] if _OLDER_THAN.items() <= resource.items() else None
    return [
        f"{'/'.join(map(str, error.instance_path))}: {error.message[:200]}"
        for error in _schema_of(resource["resourceType"]).iter_errors(resource)
        if list(error.instance_path) != excused
    ]


@cache
def _schema() -> Json:
    schema: Json = json.loads(lzma.decompress((HERE / "schema/fhir.schema.json.xz").read_bytes()))
    return schema


@cache
def _schema_of(resource_type: str) -> Any:
    """The whole schema, entered at one type: errors then speak of that type alone."""
    entered = {name: part for name, part in _schema().items() if name not in ("oneOf", "id")}
    return jsonschema_rs.validator_for(entered | {"$ref": f"#/definitions/{resource_type}"})


def empty_members(value: Any, path: str = "") -> list[str]:
    """Where there is a null, an empty text, an empty list or an empty object: FHIR's JSON has none."""
    if value is None or (isinstance(value, str | list | dict) and not value):
        return [path]
    if isinstance(value, dict):
        return [p for name, each in value.items() for p in empty_members(each, f"{path}.{name}")]
    if isinstance(value, list):
        return [p for i, each in enumerate(value) for p in empty_members(each, f"{path}[{i}]")]
    return []


def has_medplum() -> bool:
    """Whether Node and medplum's packages are at hand."""
    return shutil.which("node") is not None and (HERE / "node_modules/@medplum/core").exists()


def medplum_errors(resource: Json) -> list[Any]:
    """What medplum finds wrong, without its false alarm."""
    process = _medplum()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(resource) + "\n")
    process.stdin.flush()
    found = json.loads(process.stdout.readline())
    text = json.dumps(resource)
    is_excused = "RiskAssessment" in text and "probabilityDecimal" not in text
    return [each for each in found if not (is_excused and _FALSE_ALARM in str(each[0]))]


@cache
def _medplum() -> "subprocess.Popen[str]":
    """One process for all: reading the definitions takes seconds."""
    node = shutil.which("node")
    assert node is not None
    process = subprocess.Popen(
        [node, "medplum.mjs"],
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process
