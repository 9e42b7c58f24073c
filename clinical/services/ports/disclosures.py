"""What others may ask about: what the audit log tells of whom, and what was told of a patient."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from clinical.audit.entry import AuditEntry, AuditKind
from clinical.prediction.prediction import ModelFingerprint
from clinical.timeline.patient import PatientRef


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which entries, the newest first. `since` is included, `until` is not; `after` is the last one seen.

    `about` is an id of ours that an entry names, whatever it is of.
    """

    since: datetime | None = None
    until: datetime | None = None
    entry_id: UUID | None = None
    patient_id: UUID | None = None
    about: UUID | None = None
    actor: str | None = None
    kind: AuditKind | None = None
    after: UUID | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedAct:
    """An entry with what the database knows of it beside the log.

    `patients` are whom it concerned, as far as that is still stored; `request_id` the request that the
    act goes back to, however many messages ago.
    """

    entry: AuditEntry
    patients: tuple[UUID, ...]
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldQuery:
    """Which decided predictions, those decided last first; `after` is the review seen last."""

    patient_id: UUID | None = None
    prediction_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: UUID | None = None
    limit: int = 50


class Disclosures(Protocol):
    """Reads for those outside, within one transaction."""

    def audited(self, query: AuditQuery) -> list[AuditedAct]: ...

    def all_audited(self, since: datetime | None, until: datetime | None) -> Iterator[AuditedAct]:
        """Every entry of that time, the oldest first, streamed."""
        ...

    def told(self, query: ToldQuery) -> list[UUID]:
        """Reviews with a decision that agreed, of models that are not stopped, and not to be looked at again."""
        ...

    def patient(self, patient_id: UUID) -> PatientRef:
        """Raises NotFoundError."""
        ...

    def models(self) -> Sequence[ModelFingerprint]: ...
