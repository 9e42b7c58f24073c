"""System URIs to the terminologies that we know, and concepts to codes.

A code from any other system is kept under the URI that it came with, flagged and counted.
"""

from collections.abc import Iterable
from functools import lru_cache

from adapters.fhir.datatypes import CodeableConcept, Coding
from clinical.timeline.code import Code, CodeSystem

SYSTEMS: dict[str, CodeSystem] = {
    "http://loinc.org": CodeSystem.LOINC,
    "urn:oid:2.16.840.1.113883.6.1": CodeSystem.LOINC,
    "http://snomed.info/sct": CodeSystem.SNOMED_CT,
    "urn:oid:2.16.840.1.113883.6.96": CodeSystem.SNOMED_CT,
    "http://www.nlm.nih.gov/research/umls/rxnorm": CodeSystem.RXNORM,
    "urn:oid:2.16.840.1.113883.6.88": CodeSystem.RXNORM,
    "http://hl7.org/fhir/sid/icd-10-cm": CodeSystem.ICD_10_CM,
    "urn:oid:2.16.840.1.113883.6.90": CodeSystem.ICD_10_CM,
    "http://hl7.org/fhir/sid/icd-10": CodeSystem.ICD_10,
    "urn:oid:2.16.840.1.113883.6.3": CodeSystem.ICD_10,
    "http://hl7.org/fhir/sid/icd-9-cm": CodeSystem.ICD_9_CM,
    "urn:oid:2.16.840.1.113883.6.103": CodeSystem.ICD_9_CM,
    "http://www.whocc.no/atc": CodeSystem.ATC,
    "http://hl7.org/fhir/sid/cvx": CodeSystem.CVX,
    "urn:oid:2.16.840.1.113883.12.292": CodeSystem.CVX,
    "http://www.ama-assn.org/go/cpt": CodeSystem.CPT,
    "urn:oid:2.16.840.1.113883.6.12": CodeSystem.CPT,
    "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets": CodeSystem.HCPCS,
    "urn:oid:2.16.840.1.113883.6.285": CodeSystem.HCPCS,
    "http://hl7.org/fhir/sid/ndc": CodeSystem.NDC,
    "urn:oid:2.16.840.1.113883.6.69": CodeSystem.NDC,
    "http://unitsofmeasure.org": CodeSystem.UCUM,
    "http://terminology.hl7.org/CodeSystem/v3-ActCode": CodeSystem.ACT,
    "http://hl7.org/fhir/v3/ActCode": CodeSystem.ACT,
    "http://hl7.org/fhir/administrative-gender": CodeSystem.GENDER,
}

URIS: dict[CodeSystem, str] = {system: uri for uri, system in reversed(SYSTEMS.items())}
"""The URI to write for each terminology: the first that is listed for it."""

# When a sender states a concept in several terminologies, the one that the fact is known by.
_PREFERENCE = {
    system: rank
    for rank, system in enumerate(
        (
            CodeSystem.LOINC,
            CodeSystem.RXNORM,
            CodeSystem.CVX,
            CodeSystem.SNOMED_CT,
            CodeSystem.ICD_10_CM,
            CodeSystem.ICD_10,
            CodeSystem.ATC,
        )
    )
}
_KNOWN_BUT_NOT_PREFERRED = len(_PREFERENCE)
_UNKNOWN = _KNOWN_BUT_NOT_PREFERRED + 1


@lru_cache(maxsize=16384)
def code(system: str | None, value: str, display: str) -> Code:
    """The code that a sender wrote, under the terminology's name or else under its own URI."""
    uri = system or ""
    return Code(SYSTEMS.get(uri, uri), value, display)


def is_mapped(known: Code) -> bool:
    """Whether the code is from a terminology that we know by name."""
    return type(known.system) is CodeSystem and known.system is not CodeSystem.TEXT


def codes_of(concept: CodeableConcept) -> tuple[Code, ...]:
    """All that the sender calls the concept, the preferred terminology first; words only if no code.

    Preference is by terminology, then the sender's order. Empty where the concept is empty.
    """
    codings, text = concept.coding, concept.text or ""
    if codings and len(codings) == 1:
        only = codings[0]
        return _single(only.system, only.code, only.display or text, text)
    found = [known for coding in codings or () if (known := _of_coding(coding, text))]
    if not found:
        return _words(text or next((c.display for c in codings or () if c.display), ""))
    return by_preference(found)


def by_preference(found: Iterable[Code]) -> tuple[Code, ...]:
    """Each code once, the preferred terminology first, then in the order given."""
    return tuple(dict.fromkeys(sorted(found, key=_rank)))


@lru_cache(maxsize=16384)
def _single(system: str | None, value: str | None, display: str, text: str) -> tuple[Code, ...]:
    return (code(system, value, display),) if value is not None else _words(display or text)


def _of_coding(coding: Coding, text: str) -> Code | None:
    display = coding.display or text
    if coding.code is not None:
        return code(coding.system, coding.code, display)
    return Code(CodeSystem.TEXT, display, display) if display else None


def _words(text: str) -> tuple[Code, ...]:
    return (Code(CodeSystem.TEXT, text, text),) if text else ()


def _rank(known: Code) -> int:
    if not is_mapped(known):
        return _UNKNOWN
    return _PREFERENCE.get(CodeSystem(known.system), _KNOWN_BUT_NOT_PREFERRED)
