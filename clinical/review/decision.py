"""What a clinician decided, immutable once made."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Verdict(StrEnum):
    """The clinician's judgement of the prediction."""

    AGREE = "agree"
    AGREE_WITH_CHANGES = "agree_with_changes"
    DISAGREE = "disagree"
    CANNOT_ASSESS = "cannot_assess"


class Reason(StrEnum):
    """Why; several may apply."""

    ACKNOWLEDGED = "acknowledged"
    ALREADY_TREATED = "already_treated"
    DATA_WRONG = "data_wrong"
    DATA_MISSING = "data_missing"
    NOT_RELEVANT = "not_relevant"
    PATIENT_PREFERENCE = "patient_preference"
    IMPLAUSIBLE = "implausible"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A signed judgement; `prediction_digest` is the output digest of what was on the screen."""

    decision_id: UUID
    review_id: UUID
    verdict: Verdict
    reasons: tuple[Reason, ...]
    note: str
    decided_by: str
    decided_at: datetime
    prediction_digest: str

    @property
    def digest(self) -> str:
        """Hex SHA-256 over every field: what the signature in the audit log stands for."""
        fields = (
            str(self.decision_id),
            str(self.review_id),
            self.verdict,
            ",".join(self.reasons),
            hashlib.sha256(self.note.encode()).hexdigest(),
            self.decided_by,
            self.decided_at.isoformat(),
            self.prediction_digest,
        )
        return hashlib.sha256("\n".join(fields).encode()).hexdigest()

    @property
    def sealed_content(self) -> dict[str, str]:
        """What the audit log vouches for without telling it."""
        return {"decision_digest": self.digest}
