"""Coded elements (CE, CWE: section 2A.3) to codes: HL7 table 0396 tells which terminology a name means.

A name that the table here does not have is kept as it is, flagged and counted.
"""

import re

from adapters.hl7v2.message import Repetition
from clinical.timeline.code import Code, CodeSystem

SYSTEMS: dict[str, str] = {
    "LN": CodeSystem.LOINC,
    "SCT": CodeSystem.SNOMED_CT,
    "RXNORM": CodeSystem.RXNORM,
    "I10C": CodeSystem.ICD_10_CM,
    "I10": CodeSystem.ICD_10,
    "I9C": CodeSystem.ICD_9_CM,
    "CVX": CodeSystem.CVX,
    "C4": CodeSystem.CPT,
    "C5": CodeSystem.CPT,
    "HPC": CodeSystem.HCPCS,
    "HCPCS": CodeSystem.HCPCS,
    "NDC": CodeSystem.NDC,
    "UCUM": CodeSystem.UCUM,
    "MVX": "http://hl7.org/fhir/sid/mvx",
    "CDCREC": "urn:oid:2.16.840.1.113883.6.238",
    "NCIT": "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl",
    "CAS": "http://terminology.hl7.org/CodeSystem/CAS",
}
"""Names of table 0396; `ATC` is no drug class there, but a collection of cultures."""

_TABLE = re.compile(r"HL7(\d{4})")
CLASSES = {"I": "IMP", "O": "AMB", "E": "EMER", "P": "PRENC"}
"""Patient class (table 0004) to v3 ActCode, where both mean the same."""
GENDERS = {"M": "male", "F": "female", "O": "other", "A": "other", "U": "unknown"}
"""Administrative sex (table 0001) to FHIR's; the rest is kept as it is."""

_PREFERENCE = (
    CodeSystem.LOINC,
    CodeSystem.RXNORM,
    CodeSystem.CVX,
    CodeSystem.SNOMED_CT,
    CodeSystem.ICD_10_CM,
    CodeSystem.ICD_10,
)


def table(number: str) -> str:
    """The URI of an HL7 v2 table."""
    return f"http://terminology.hl7.org/CodeSystem/v2-{number}"


def system_of(name: str) -> str:
    """The terminology that a name of table 0396 means, or the name itself."""
    found = _TABLE.fullmatch(name)
    return table(found[1]) if found else SYSTEMS.get(name, name)


def codes_of(element: Repetition) -> tuple[Code, ...]:
    """All that an element is called, the preferred terminology first; words only where there is no code."""
    found: list[Code] = []
    words = element.text(2) or element.text(9) or element.text(5)
    for at in (1, 4, 10):
        value, display = element.text(at), element.text(at + 1)
        if value:
            found.append(Code(system_of(element.text(at + 2)), value, display or words))
    if not found:
        return (Code(CodeSystem.TEXT, words, words),) if words else ()
    found.sort(key=_rank)
    return tuple(dict.fromkeys(found))


def _rank(code: Code) -> int:
    if not isinstance(code.system, CodeSystem):
        return len(_PREFERENCE) + 1
    known = CodeSystem(code.system)
    return _PREFERENCE.index(known) if known in _PREFERENCE else len(_PREFERENCE)
