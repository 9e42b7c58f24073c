"""A clinical concept and the terminology it is from."""

from dataclasses import dataclass
from enum import StrEnum


class CodeSystem(StrEnum):
    """The terminologies that this service knows by name.

    A code from any other terminology is kept under its own identifier (a plain `str`), never
    dropped and never guessed into one of these.
    """

    LOINC = "LOINC"
    SNOMED_CT = "SNOMED-CT"
    RXNORM = "RxNorm"
    ICD_10_CM = "ICD-10-CM"
    ICD_10 = "ICD-10"
    ICD_9_CM = "ICD-9-CM"
    ATC = "ATC"
    CVX = "CVX"
    CPT = "CPT"
    HCPCS = "HCPCS"
    NDC = "NDC"
    UCUM = "UCUM"
    ACT = "HL7-Act"  # encounter classes (v3-ActCode)
    GENDER = "HL7-Gender"  # administrative gender
    MIMIC = "MIMIC"  # MIMIC-IV item codes as found in MEDS extracts
    MEDS = "MEDS"  # the reserved MEDS_BIRTH, MEDS_DEATH
    TEXT = "text"  # no code was given, only words


@dataclass(frozen=True, slots=True)
class Code:
    """A concept: `value` within `system`; `display` is the sender's words and not its identity."""

    system: str
    value: str
    display: str = ""

    @property
    def key(self) -> str:
        """System and value in one string, e.g. `LOINC|718-7`: the identity of the concept."""
        return f"{self.system}|{self.value}"
