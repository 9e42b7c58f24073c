"""What is wrong with a resource, in our words: elements and rules, never values.

`fhir.resources` is asked first (the trust boundary in the strict lane, the reason for what the fast
lane disputes); the structs then hold what it lets through: required codes, empty strings, numbers
sent as text. It checks every element, the structs only those that are read. So a resource that is
wrong solely inside an element which is never read is refused by the strict lane alone.
"""

import re

import msgspec
from pydantic import ValidationError

from adapters.fhir.body import check_depth
from adapters.fhir.errors import Reason, RecordError
from adapters.fhir.release import resource_class

_ELEMENT = re.compile(r"[A-Za-z_][A-Za-z0-9]{0,63}")
_PATH = re.compile(r" - at `(\$[^`]*)`$")
_UNKNOWN_FIELD = re.compile(r"unknown field `([A-Za-z_][A-Za-z0-9]{0,63})`")
_MISSING_FIELD = re.compile(r"required field `([A-Za-z_][A-Za-z0-9]{0,63})`")

_RULES = {
    "extra_forbidden": (Reason.UNKNOWN_ELEMENT, "R4 has no such element here"),
    "missing": (Reason.MISSING_ELEMENT, "the element is required"),
    "string_pattern_mismatch": (Reason.INVALID, "the text does not have the required form"),
    "string_too_short": (Reason.EMPTY_STRING, "the text is empty"),
    "string_too_long": (Reason.INVALID, "the text is too long"),
    "value_error": (Reason.INVALID, "a rule of the element is broken"),
    "json_invalid": (Reason.NOT_JSON, "the text is not JSON"),
}


def validate(resource_type: str, raw: bytes) -> None:
    """Hold a resource to R4B's classes; raises RecordError with the first thing that is wrong.

    Nothing is parsed that is nested deeper than 64 levels. What is wrong with the narrative (`text`)
    alone refuses nothing.
    """
    check_depth(raw)
    model = resource_class(resource_type)
    if model is None:
        return
    try:
        model.model_validate_json(raw)
    except ValidationError as error:
        problem = _first_of(error)
        if problem is not None:
            raise problem from None
    except RecursionError:
        raise RecordError(Reason.TOO_DEEP, "the record is nested too deep") from None


def _first_of(error: ValidationError) -> RecordError | None:
    """The first problem by path; None where all are in the narrative, which nobody here reads."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    problems = [problem for problem in found if problem["loc"][:1] != ("text",)]
    if not problems:
        return None
    first = min(problems, key=lambda problem: [str(step) for step in problem["loc"]])
    reason, rule = _rule(first["type"])
    return RecordError(reason, f"{_path(first['loc'])}: {rule}")


def _rule(kind: str) -> tuple[Reason, str]:
    if kind in _RULES:
        return _RULES[kind]
    if kind.startswith(("date", "time")):
        return Reason.IMPOSSIBLE_TIME, "no calendar or clock shows it, or its zone is missing"
    if kind.endswith(("_type", "_parsing")):
        return Reason.WRONG_TYPE, "the value has the wrong type"
    return Reason.INVALID, "a rule of the element is broken"


def _path(steps: tuple[int | str, ...]) -> str:
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        elif _ELEMENT.fullmatch(step):
            path += f".{step}" if path else step
    return path or "resource"


def described(error: Exception) -> RecordError:
    """What the decoder of our structs refused, in our words."""
    text = str(error)
    if isinstance(error, UnicodeDecodeError):
        return RecordError(Reason.NOT_JSON, "the text is not UTF-8")
    if isinstance(error, RecursionError):
        return RecordError(Reason.TOO_DEEP, "the record is nested too deep")
    if not isinstance(error, msgspec.ValidationError):
        return RecordError(Reason.NOT_JSON, "the text is not JSON")
    found = _PATH.search(text)
    path = (found.group(1).removeprefix("$").removeprefix(".") if found else "") or "resource"
    if path == "resourceType" and text.startswith("Invalid value"):
        return RecordError(Reason.UNKNOWN_RESOURCE_TYPE, "resourceType: R4 has no such resource")
    for pattern, reason, rule in _REFUSALS:
        if pattern in text:
            return RecordError(reason, f"{_with_field(path, text)}: {rule}")
    return RecordError(Reason.WRONG_TYPE, f"{path}: the value has the wrong type")


_REFUSALS = (
    ("required field `resourceType`", Reason.NO_RESOURCE_TYPE, "it does not say what it is"),
    ("unknown field", Reason.UNKNOWN_ELEMENT, "R4 has no such element here"),
    ("missing required field", Reason.MISSING_ELEMENT, "the element is required"),
    ("Invalid enum value", Reason.CODE_NOT_ALLOWED, "the code is not one that R4 allows here"),
    ("`str` of length >=", Reason.EMPTY_STRING, "the text is empty"),
    ("Expected `int` ", Reason.NUMBER_OUT_OF_RANGE, "the number is out of range"),
    ("Expected `object`, got", Reason.WRONG_TYPE, "an object is required"),
)


def _with_field(path: str, text: str) -> str:
    field = _UNKNOWN_FIELD.search(text) or _MISSING_FIELD.search(text)
    if field is None:
        return path
    return field.group(1) if path == "resource" else f"{path}.{field.group(1)}"
