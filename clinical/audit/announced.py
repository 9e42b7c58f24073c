"""Which entries of the log others are told of, and what they are told: our ids, and nothing of a patient.

What is told is the entry's kind in a word, when, and the ids in it; whoever wants to know more asks.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clinical.audit.entry import AuditEntry, AuditKind

ANNOUNCED: Mapping[AuditKind, str] = {
    AuditKind.PREDICTION_STORED: "prediction.stored",
    AuditKind.REVIEW_OPENED: "review.opened",
    AuditKind.REVIEW_SIGNED: "review.signed",
    AuditKind.REVIEW_SUPERSEDED: "review.superseded",
    AuditKind.REVIEW_WITHDRAWN: "review.withdrawn",
    AuditKind.REVIEW_RELOOK: "review.relook_asked",
    AuditKind.PREDICTION_STALE: "prediction.stale",
    AuditKind.WRITEBACK_DONE: "writeback.done",
    AuditKind.WRITEBACK_TAKEN_BACK: "writeback.taken_back",
    AuditKind.MODEL_PROMOTED: "model.promoted",
    AuditKind.MODEL_STOPPED: "model.stopped",
}
_REFS = ("prediction", "review", "decision", "model", "recall")
_ID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$|^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What is told of an entry. `refs`: what kind of thing, and its id here."""

    entry_id: UUID
    type: str
    at: datetime
    refs: Mapping[str, str]

    @property
    def is_for_everybody(self) -> bool:
        """Whether it is about no patient, and so about no site."""
        return not {"prediction", "review"} & self.refs.keys()


def announcement(entry: AuditEntry) -> Announcement | None:
    """What others are told of the entry; None where they are told nothing."""
    type_ = ANNOUNCED.get(entry.kind)
    if type_ is None:
        return None
    refs = {name: entry.refs[name] for name in _REFS if _ID.match(entry.refs.get(name, ""))}
    return Announcement(entry_id=entry.entry_id, type=type_, at=entry.at, refs=refs)
