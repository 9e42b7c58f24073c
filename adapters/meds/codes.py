"""MEDS code strings to kinds and codes.

MEDS has one string for everything (`LOINC//718-7`, `LAB//50912//mg/dL`, `MEDS_BIRTH`), so the kind
of fact is read from its first word. What no rule covers is kept whole, as an observation, flagged.
"""

from dataclasses import dataclass
from functools import lru_cache

from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind, Phase, Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a code string says: the kind, the code, which end of a lasting fact, the unit of its value."""

    kind: EventKind
    code: Code
    phase: Phase = Phase.POINT
    standing: Standing = Standing.ASSERTED
    status: str = ""
    unit: str | None = None


_STANDARD = {
    "LOINC": (CodeSystem.LOINC, EventKind.OBSERVATION),
    "SNOMED": (CodeSystem.SNOMED_CT, EventKind.CONDITION),
    "SNOMEDCT": (CodeSystem.SNOMED_CT, EventKind.CONDITION),
    "RXNORM": (CodeSystem.RXNORM, EventKind.MEDICATION_STATEMENT),
    "NDC": (CodeSystem.NDC, EventKind.MEDICATION_STATEMENT),
    "ATC": (CodeSystem.ATC, EventKind.MEDICATION_STATEMENT),
    "ICD10CM": (CodeSystem.ICD_10_CM, EventKind.CONDITION),
    "ICD10": (CodeSystem.ICD_10, EventKind.CONDITION),
    "ICD9CM": (CodeSystem.ICD_9_CM, EventKind.CONDITION),
    "CVX": (CodeSystem.CVX, EventKind.IMMUNIZATION),
    "CPT4": (CodeSystem.CPT, EventKind.PROCEDURE),
    "CPT": (CodeSystem.CPT, EventKind.PROCEDURE),
}
"""Prefixes that are terminologies. MEDS does not say what was done with a drug: that it is in use
is the weakest thing that can be meant."""

_GENDERS = {"F": "female", "M": "male"}
_MIMIC_WHOLE = {
    "HOSPITAL_ADMISSION": (EventKind.ENCOUNTER, Phase.START),
    "HOSPITAL_DISCHARGE": (EventKind.ENCOUNTER, Phase.END),
    "ICU_ADMISSION": (EventKind.ENCOUNTER, Phase.START),
    "ICU_DISCHARGE": (EventKind.ENCOUNTER, Phase.END),
    "ED_REGISTRATION": (EventKind.ENCOUNTER, Phase.START),
    "ED_OUT": (EventKind.ENCOUNTER, Phase.END),
    "TRANSFER_TO": (EventKind.ENCOUNTER, Phase.POINT),
    "DRG": (EventKind.OBSERVATION, Phase.POINT),
    "HCPCS": (EventKind.PROCEDURE, Phase.POINT),
    "Blood Pressure": (EventKind.OBSERVATION, Phase.POINT),
    "Blood Pressure Sitting": (EventKind.OBSERVATION, Phase.POINT),
    "Blood Pressure Lying": (EventKind.OBSERVATION, Phase.POINT),
    "Blood Pressure Standing (1 min)": (EventKind.OBSERVATION, Phase.POINT),
    "Blood Pressure Standing (3 mins)": (EventKind.OBSERVATION, Phase.POINT),
}
"""MIMIC-IV strings that are kept whole."""

_MIMIC_UNITS = {
    "Weight (Lbs)": "[lb_av]",
    "Height (Inches)": "[in_i]",
    "BMI (kg/m2)": "kg/m2",
}
_PHASES = {"START": Phase.START, "STOP": Phase.END, "END": Phase.END}
_NOT_GIVEN = ("Not Given", "Not Started", "Not Applied", "Not Flushed", "Hold Dose", "Delayed")
_NO_UNIT = frozenset({"UNK", "N/A", "", " "})


@lru_cache(maxsize=65536)
def meaning(code: str) -> Meaning:
    """What a MEDS code string says."""
    parts = code.split("//")
    rule = _RULES.get(parts[0])
    found = rule(parts) if rule is not None else None
    return found or _standard(parts) or _other(code, parts)


def _birth(_: list[str]) -> Meaning:
    return Meaning(kind=EventKind.PATIENT, code=Code(CodeSystem.MEDS, "MEDS_BIRTH", "Birth"))


def _death(_: list[str]) -> Meaning:
    return Meaning(kind=EventKind.DEATH, code=Code(CodeSystem.MEDS, "MEDS_DEATH", "Death"))


def _gender(parts: list[str]) -> Meaning:
    return Meaning(
        kind=EventKind.PATIENT, code=Code(CodeSystem.GENDER, _GENDERS.get(parts[-1], "unknown"))
    )


def _measured(parts: list[str]) -> Meaning | None:
    """`LAB//<item>//<unit>`, `SUBJECT_FLUID_OUTPUT//<item>//<unit>`."""
    if len(parts) < 2:
        return None
    unit = parts[2] if len(parts) > 2 else ""
    return Meaning(
        kind=EventKind.OBSERVATION,
        code=Code(CodeSystem.MIMIC, parts[1]),
        unit=None if unit in _NO_UNIT else unit,
    )


def _weighed(parts: list[str]) -> Meaning:
    return Meaning(
        kind=EventKind.OBSERVATION,
        code=Code(CodeSystem.MIMIC, parts[0]),
        unit="kg" if parts[1:] == ["KG"] else "//".join(parts[1:]) or None,
    )


def _infused(parts: list[str]) -> Meaning | None:
    if len(parts) != 2:
        return None
    return Meaning(
        kind=EventKind.MEDICATION_ADMINISTRATION,
        code=Code(CodeSystem.MIMIC, parts[1]),
        phase=_PHASES[parts[0].removeprefix("INFUSION_")],
    )


def _medication(parts: list[str]) -> Meaning | None:
    """`MEDICATION//START|STOP//<name>` is a prescription, `MEDICATION//<name>//<what was done>` is not."""
    if len(parts) < 3:
        return None
    if parts[1] in _PHASES:
        name = "//".join(parts[2:])
        return Meaning(
            kind=EventKind.MEDICATION_REQUEST,
            code=Code(CodeSystem.MIMIC, name, name),
            phase=_PHASES[parts[1]],
        )
    name, done = "//".join(parts[1:-1]), parts[-1]
    return Meaning(
        kind=EventKind.MEDICATION_ADMINISTRATION,
        code=Code(CodeSystem.MIMIC, name, name),
        standing=Standing.REFUTED if done.startswith(_NOT_GIVEN) else Standing.ASSERTED,
        status=done,
    )


def _diagnosis(parts: list[str]) -> Meaning | None:
    match parts:
        case [_, "ICD", "9", value]:
            dotted = _dotted(value, 4 if value.startswith("E") else 3)
            return Meaning(kind=EventKind.CONDITION, code=Code(CodeSystem.ICD_9_CM, dotted))
        case [_, "ICD", "10", value]:
            return Meaning(
                kind=EventKind.CONDITION, code=Code(CodeSystem.ICD_10_CM, _dotted(value, 3))
            )
        case _:
            return None


def _dotted(value: str, after: int) -> str:
    """MIMIC leaves out the dot that ICD codes have after the category."""
    return value if "." in value or len(value) <= after else f"{value[:after]}.{value[after:]}"


def _procedure(parts: list[str]) -> Meaning | None:
    match parts:
        case [_, "ICD", version, value]:
            code = Code(f"ICD-{version}-PCS", value)
            return Meaning(kind=EventKind.PROCEDURE, code=code)
        case [_, end, item] if end in _PHASES:
            code = Code(CodeSystem.MIMIC, item)
            return Meaning(kind=EventKind.PROCEDURE, code=code, phase=_PHASES[end])
        case _:
            return None


def _whole(parts: list[str]) -> Meaning:
    kind, phase = _MIMIC_WHOLE[parts[0]]
    return Meaning(kind=kind, code=Code(CodeSystem.MIMIC, "//".join(parts)), phase=phase)


def _body_measure(parts: list[str]) -> Meaning:
    code = Code(CodeSystem.MIMIC, parts[0], parts[0])
    return Meaning(kind=EventKind.OBSERVATION, code=code, unit=_MIMIC_UNITS[parts[0]])


def _standard(parts: list[str]) -> Meaning | None:
    known = _STANDARD.get(parts[0].upper().replace("-", ""))
    if known is None or len(parts) < 2 or not parts[1]:
        return None
    system, kind = known
    unit = parts[2] if len(parts) > 2 and parts[2] not in _NO_UNIT else None
    return Meaning(kind=kind, code=Code(system, parts[1]), unit=unit)


def _other(code: str, parts: list[str]) -> Meaning:
    """Kept whole under its first word, or under none."""
    system, value = (parts[0], "//".join(parts[1:])) if len(parts) > 1 else ("", code)
    return Meaning(kind=EventKind.OBSERVATION, code=Code(system, value or code))


_RULES = {
    "MEDS_BIRTH": _birth,
    "MEDS_DEATH": _death,
    "GENDER": _gender,
    "LAB": _measured,
    "SUBJECT_FLUID_OUTPUT": _measured,
    "SUBJECT_WEIGHT_AT_INFUSION": _weighed,
    "INFUSION_START": _infused,
    "INFUSION_END": _infused,
    "MEDICATION": _medication,
    "DIAGNOSIS": _diagnosis,
    "PROCEDURE": _procedure,
    **dict.fromkeys(_MIMIC_WHOLE, _whole),
    **dict.fromkeys(_MIMIC_UNITS, _body_measure),
}
