"""One line of the audit log: who did what to which record, with no patient data in it."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class AuditKind(StrEnum):
    """What happened. Append only: a retired kind stays listed."""

    DELIVERY_RECEIVED = "delivery.received.v1"
    DELIVERY_REFUSED = "delivery.refused.v1"
    EVENTS_RECORDED = "events.recorded.v1"
    PREDICTION_STORED = "prediction.stored.v1"
    REVIEW_OPENED = "review.opened.v1"
    REVIEW_CLAIMED = "review.claimed.v1"
    REVIEW_RELEASED = "review.released.v1"
    REVIEW_SIGNED = "review.signed.v1"
    REVIEW_SUPERSEDED = "review.superseded.v1"
    REVIEW_READ = "review.read.v1"
    WRITEBACK_QUEUED = "writeback.queued.v1"
    WRITEBACK_DONE = "writeback.done.v1"
    MODEL_REGISTERED = "model.registered.v1"
    MODEL_INSTALLED = "model.installed.v1"
    MODEL_PROPOSED = "model.promotion_proposed.v1"
    MODEL_PROMOTED = "model.promoted.v1"
    MODEL_STOPPED = "model.stopped.v1"
    MODEL_RECALLED = "model.recalled.v1"
    INPUT_RECALLED = "input.recalled.v1"
    REVIEW_WITHDRAWN = "review.withdrawn.v1"
    REVIEW_RELOOK = "review.relook_asked.v1"
    REVIEW_LOOKED_AGAIN = "review.looked_again.v1"
    PLANS_COMPARED = "plans.compared.v1"
    AUDIT_RUN = "audit.run.v1"
    MESSAGE_ABANDONED = "message.abandoned.v1"
    MESSAGE_REDRIVEN = "message.redriven.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """`actor` did `kind`; `refs` names what it touched by our own ids and digests, never by content."""

    entry_id: UUID
    at: datetime
    kind: AuditKind
    actor: str
    refs: dict[str, str] = field(default_factory=dict)
    request_id: str = ""

    def canonical(self) -> bytes:
        """The bytes that are hashed: JSON with sorted keys, no spaces, all values strings.

        For objects whose keys are ASCII and whose values are strings this is RFC 8785 (JCS).
        """
        fields = {
            "actor": self.actor,
            "at": self.at.isoformat(),
            "entry_id": str(self.entry_id),
            "kind": self.kind.value,
            "refs": self.refs,
            "request_id": self.request_id,
        }
        return json.dumps(
            fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()

    @property
    def leaf_hash(self) -> bytes:
        """`SHA-256(0x00 || canonical)`, the leaf of RFC 6962 section 2.1."""
        return hashlib.sha256(b"\x00" + self.canonical()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who acts, when, under which request: what all entries of one step have in common."""

    actor: str
    at: datetime
    request_id: str = ""

    def entry(self, entry_id: UUID, kind: AuditKind, **refs: object) -> AuditEntry:
        """The entry for one thing done in this act."""
        return AuditEntry(
            entry_id=entry_id,
            at=self.at,
            kind=kind,
            actor=self.actor,
            refs={name: str(value) for name, value in refs.items()},
            request_id=self.request_id,
        )
