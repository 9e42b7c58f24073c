"""A recall: everything that a model or an input record touched is found, and nothing is deleted.

Open reviews are withdrawn; signed ones are marked for another look, until somebody has looked.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from clinical.errors import RejectedError
from clinical.prediction.registry import Concern


class MalformedRecordError(RejectedError):
    """A record is named as TYPE/ID or TYPE/ID/VERSION."""

    code = "recall.malformed_record"


class AmbiguousRecordError(RejectedError):
    """Several sites have a record of this type and id: name the site."""

    code = "recall.ambiguous_record"


class NotToLookAtError(RejectedError):
    """Nobody asked for another look at this review, or somebody has looked."""

    code = "recall.nothing_to_look_at"


class RecallKind(StrEnum):
    """What is recalled."""

    MODEL = "model"
    INPUT = "input"
    RETRACTION = "retraction"  # by the service itself: what a delivery took back


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordName:
    """A record of a site; `version` empty means every version, `site` empty the only site that has it."""

    record_type: str
    record_id: str
    version: str = ""
    site: str = ""

    @classmethod
    def parse(cls, text: str, site: str = "") -> "RecordName":
        """Of TYPE/ID or TYPE/ID/VERSION; raises MalformedRecordError."""
        record_type, _, rest = text.partition("/")
        record_id, _, version = rest.partition("/")
        if not record_type or not record_id or "/" in version or text.endswith("/"):
            raise MalformedRecordError("a record is named as TYPE/ID or TYPE/ID/VERSION")
        return cls(record_type=record_type, record_id=record_id, version=version, site=site)

    @property
    def reference(self) -> str:
        """`type/id/version`, or `type/id` for every version."""
        name = f"{self.record_type}/{self.record_id}"
        return f"{name}/{self.version}" if self.version else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """`target` is a model's digest, `site TYPE/ID/VERSION`, or a delivery and a patient of ours.

    There is one recall of a target.

    `patient_id` is whose record was recalled: that row goes with the patient, should they be erased.
    """

    recall_id: UUID
    kind: RecallKind
    target: str
    concern: Concern
    note: str
    by: str
    at: datetime
    patient_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relook:
    """That a signed review needs another look, and who has looked since."""

    review_id: UUID
    recall: Recall
    asked_at: datetime
    looked_by: str | None = None
    looked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What a recall finds: predictions by id, or all of a model."""

    manifest_digest: str | None = None
    prediction_ids: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TouchedPrediction:
    """One prediction that a recall found, with what became of it. Names a patient: not for logs."""

    prediction_id: UUID
    patient_id: UUID
    purpose: str
    as_of: datetime
    made_at: datetime
    review_id: UUID | None
    review_state: str | None
    signed_by: str | None
    signed_at: datetime | None
    verdict: str | None
    num_comparisons: int
    readers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """How much a recall found. `signers` and `readers` count reviews by name."""

    num_predictions: int
    num_patients: int
    num_comparisons: int
    reviews_by_state: dict[str, int]
    signers: dict[str, int]
    readers: dict[str, int]
