"""One line of the audit log: who did what to which record, with no patient data in it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from json.encoder import encode_basestring as _text
from uuid import UUID

from clinical.audit.sealing import is_sealed, sealed


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
    WRITEBACK_TAKEN_BACK = "writeback.taken_back.v1"
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
    PATIENT_ERASED = "patient.erased.v1"
    MESSAGE_REOWED = "message.reowed.v1"
    PREDICTION_STALE = "prediction.stale.v1"
    WORKLIST_READ = "worklist.read.v1"
    RESOURCE_READ = "resource.read.v1"
    RESOURCES_SEARCHED = "resources.searched.v1"
    LEDGER_EXPORTED = "ledger.exported.v1"
    REQUEST_REFUSED = "request.refused.v1"
    SESSION_OPENED = "session.opened.v1"
    TOKEN_ISSUED = "token.issued.v1"  # noqa: S105 - no secret, a kind
    TOKEN_REVOKED = "token.revoked.v1"  # noqa: S105
    EHR_READ = "ehr.read.v1"
    EHR_WRITTEN = "ehr.written.v1"
    TIMELINES_EXPORTED = "timelines.exported.v1"
    NOTE_SENT = "note.sent.v1"
    WEBHOOK_DISABLED = "webhook.disabled.v1"
    WEBHOOK_ENABLED = "webhook.enabled.v1"
    CARDS_ASKED = "cards.asked.v1"
    CARD_FEEDBACK = "card.feedback.v1"
    EHR_PULLED = "ehr.pulled.v1"
    SUBSCRIPTION_MOVED = "subscription.moved.v1"
    GAP_FOUND = "subscription.gap_found.v1"
    GAP_CLOSED = "subscription.gap_closed.v1"
    GAP_GIVEN_UP = "subscription.gap_given_up.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """`actor` did `kind`; `refs` names what it touched by our own ids, never by content.

    What follows from content is in `refs` as a commitment; its `salt` is kept apart from the entry,
    and known only to who just made it.
    """

    entry_id: UUID
    at: datetime
    kind: AuditKind
    actor: str
    refs: dict[str, str] = field(default_factory=dict)
    request_id: str = ""
    salt: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def sealed_refs(self) -> tuple[str, ...]:
        """The names of the refs that are commitments."""
        return tuple(name for name, value in self.refs.items() if is_sealed(value))

    @property
    def without_salt(self) -> "AuditEntry":
        """The same entry, of which nobody is to keep the salt."""
        return replace(self, salt=None)

    def vouches_for(self, name: str, value: str, salt: bytes | None) -> bool:
        """Whether the ref says this value, or is a commitment that the salt opens to it."""
        said = self.refs[name]
        if not is_sealed(said):
            return said == value
        return salt is not None and said == sealed(salt, name, value)

    def canonical(self) -> bytes:
        """The bytes that are hashed: JSON with sorted keys, no spaces, all values strings.

        For objects whose keys are ASCII and whose values are strings this is RFC 8785 (JCS).
        """
        # Written out, for a full verification comes by here for every entry there is.
        refs = ",".join(f"{_text(name)}:{_text(self.refs[name])}" for name in sorted(self.refs))
        return (
            f'{{"actor":{_text(self.actor)},"at":"{self.at.isoformat()}",'
            f'"entry_id":"{self.entry_id}","kind":"{self.kind.value}","refs":{{{refs}}},'
            f'"request_id":{_text(self.request_id)}}}'
        ).encode()

    @property
    def leaf_hash(self) -> bytes:
        """`SHA-256(0x00 || canonical)`, the leaf of RFC 6962 section 2.1."""
        return hashlib.sha256(b"\x00" + self.canonical()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who acts, when, under which request: what all entries of one step have in common.

    `address` is the network address that a request came from; where it is known, entries carry it as
    the ref `from`.
    """

    actor: str
    at: datetime
    request_id: str = ""
    address: str = ""

    def entry(self, entry_id: UUID, kind: AuditKind, **refs: object) -> AuditEntry:
        """The entry for one thing done in this act."""
        return AuditEntry(
            entry_id=entry_id,
            at=self.at,
            kind=kind,
            actor=self.actor,
            refs={name: str(value) for name, value in refs.items()}
            | ({"from": self.address} if self.address else {}),
            request_id=self.request_id,
        )

    def sealing(
        self,
        entry_id: UUID,
        kind: AuditKind,
        salt: bytes,
        content: Mapping[str, object],
        **refs: object,
    ) -> AuditEntry:
        """As `entry`, vouching besides for each of `content` by a commitment under this fresh salt."""
        commitments = {name: sealed(salt, name, str(value)) for name, value in content.items()}
        return replace(self.entry(entry_id, kind, **refs, **commitments), salt=salt)
