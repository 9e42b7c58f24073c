"""That what a prediction rested on no longer stands: why, and since when. The prediction stays as it is."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class StaleReason(StrEnum):
    """What became of the facts that it read."""

    WITHDRAWN = "withdrawn"  # entered in error, deleted, or found to be of another patient
    CORRECTED = "corrected"  # a newer version says something else
    PATIENT_DELETED = "patient_deleted"  # the patient record itself was deleted
    MERGED = "merged"  # the patient record was merged into another
    SEPARATED = "separated"  # a record that was merged into this one is another person's
    RESTORED = "restored"  # it stands again: the merge that made it stale was undone


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleMark:
    """One mark; the newest of a prediction tells, and RESTORED says that it is not stale."""

    prediction_id: UUID
    delivery_id: UUID  # what was delivered that made it stale
    reason: StaleReason
    since: datetime
