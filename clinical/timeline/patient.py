"""Whose timeline it is: our own identity for a patient of a site."""

from dataclasses import dataclass
from uuid import UUID

from clinical.timeline.identity import identity_of


@dataclass(frozen=True, slots=True)
class PatientRef:
    """A patient as the site names them: the id of the EHR's own patient record."""

    site: str
    record_id: str

    @property
    def patient_id(self) -> UUID:
        """Our identity, the same however the patient is first heard of.

        It is a pseudonym, not a secret: whoever can guess the EHR's id can recompute it, so it is
        treated as patient data and kept out of logs, URLs, broker messages and the audit log.
        """
        return identity_of(f"{self.site}|Patient/{self.record_id}")
