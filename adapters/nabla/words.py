"""Nabla's words for terminologies, units and relatives, in ours."""

from typing import Any, TypeGuard

from adapters.nabla.errors import MalformedItemError
from adapters.units import ucum_code
from clinical.timeline.code import Code, CodeSystem

_SYSTEMS = {
    "http://hl7.org/fhir/sid/icd-10-cm": CodeSystem.ICD_10_CM,
    "icd-10-cm": CodeSystem.ICD_10_CM,
    "http://hl7.org/fhir/sid/icd-10": CodeSystem.ICD_10,
    "icd-10": CodeSystem.ICD_10,
    "http://loinc.org": CodeSystem.LOINC,
    "http://snomed.info/sct": CodeSystem.SNOMED_CT,
}

UNITS = {
    "METER": "m",
    "CENTIMETER": "cm",
    "FOOT": "[ft_i]",
    "INCH": "[in_i]",
    "MILLIMETER": "mm",
    "KILOGRAM": "kg",
    "POUND": "[lb_av]",
    "MILLIMETERS_OF_MERCURY": "mm[Hg]",
    "CENTIMETERS_OF_MERCURY": "cm[Hg]",
    "CELSIUS": "Cel",
    "FAHRENHEIT": "[degF]",
    "BEATS_PER_MINUTE": "/min",
    "BREATHS_PER_MINUTE": "/min",
    "LITER_PER_MINUTE": "L/min",
    "PERCENT": "%",
}
"""The `unit` enumeration in UCUM."""

_ROLE_CODE = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
RELATIVES = {
    name: Code(_ROLE_CODE, code, display)
    for name, code, display in (
        ("MOTHER", "MTH", "mother"),
        ("FATHER", "FTH", "father"),
        ("BROTHER", "BRO", "brother"),
        ("SISTER", "SIS", "sister"),
        ("SON", "SONC", "son"),
        ("DAUGHTER", "DAUC", "daughter"),
        ("GRANDMOTHER", "GRMTH", "grandmother"),
        ("GRANDFATHER", "GRFTH", "grandfather"),
        ("AUNT", "AUNT", "aunt"),
        ("UNCLE", "UNCLE", "uncle"),
        ("OTHER", "FAMMEMB", "family member"),
    )
}
"""The `relationship` enumeration in HL7's role codes."""


def codes(coding: Any, path: str) -> tuple[Code, ...]:
    """The codes of a coding in any of the shapes that were seen: an object, a list, `ICD-10:R51`.

    Raises:
        MalformedItemError: it is none of these, or says nothing.
    """
    found = tuple(
        code for one in (coding if isinstance(coding, list) else [coding]) if (code := _code(one))
    )
    if not found:
        raise MalformedItemError(f"{path}: a coding needs its system and code")
    return found


def _code(coding: Any) -> Code | None:
    match coding:
        case {"system": str(system), "code": str(value)} if value and value.isprintable():
            display = coding.get("display")
            return Code(_system(system), value, display if _is_plain(display) else "")
        case str(text) if _is_plain(text):
            system, colon, value = text.strip().rpartition(":")
            named = Code(_system(system), value.strip()) if colon and value.strip() else None
            return named or Code(CodeSystem.TEXT, text.strip(), text.strip())
        case _:
            return None


def _is_plain(text: Any) -> TypeGuard[str]:
    return isinstance(text, str) and text.strip() != "" and text.isprintable()


def _system(name: str) -> str:
    return _SYSTEMS.get(name.strip().lower(), name.strip())


_UCUM = frozenset({"ucum.org", "unitsofmeasure.org"})


def is_ucum(system: Any) -> bool:
    """Whether a quantity's system is UCUM, by Nabla's address of it or FHIR's; also where none is said."""
    if system is None:
        return True
    bare = system.strip().lower().rstrip("/") if isinstance(system, str) else "?"
    return bare.removeprefix("https://").removeprefix("http://") in _UCUM


def ucum_unit(unit: str | None, code: str | None) -> str | None:
    """The UCUM unit that `unit` (the enumeration, or words) and `code` state; None if none, or two."""
    stated = {
        known
        for known in (
            (UNITS.get(unit) or ucum_code(unit)) if unit else None,
            (UNITS.get(code) or ucum_code(code)) if code else None,
        )
        if known is not None
    }
    return stated.pop() if len(stated) == 1 else None
