"""What an outside system handed us, before and after it is understood."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from clinical.subscription.notification import Notification
from clinical.timeline.event import Event, Source
from clinical.timeline.patient import PatientRef


class Door(StrEnum):
    """By which door it came; the door decides who can read it."""

    FHIR = "fhir"  # one resource or a Bundle, by webhook: validated strictly
    FHIR_BULK = "fhir_bulk"  # a Bundle or lines of NDJSON, by import: the fast lane
    FHIR_NOTIFICATION = "fhir_notification"  # what a subscription sends, and `$events` answers
    FHIR_FETCHED = "fhir_fetched"  # what an EHR answered to a question of ours: validated strictly
    NABLA_CONNECT = "nabla_connect"  # a signed callback: NOTE_EXPORT, PATIENT_INSTRUCTIONS_EXPORT
    NABLA_CORE = "nabla_core"  # a signed webhook: what became of a job
    NABLA_NORMALIZED = "nabla_normalized"  # a generate-normalized-data response with its context
    MEDS = "meds"  # rows of a MEDS event table
    HL7V2 = "hl7v2"  # one HL7 v2 message, by MLLP
    HL7V2_FILE = "hl7v2_file"  # one HL7 v2 message, by import
    CCDA = "ccda"  # a C-CDA document, by webhook
    CCDA_FILE = "ccda_file"  # a C-CDA document, by import


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Bytes as received. `sender_id` is stable over redeliveries: one `(site, door, sender_id)`, one row.

    `context` holds what the transport said beside the body (e.g. `type`, `id` of a PUT), never a secret.
    """

    delivery_id: UUID
    site: str
    door: Door
    sender_id: str
    body: bytes
    content_type: str
    received_at: datetime
    context: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the body as received."""
        return hashlib.sha256(self.body).hexdigest()

    def named(self, sender_id: str) -> "Delivery":
        """The same under another sender id: one that follows from the bytes, say."""
        return replace(self, sender_id=sender_id)


class Reception(StrEnum):
    """What became of a delivery at the door."""

    NEW = "new"
    DUPLICATE = "duplicate"  # same sender id, same bytes: already held, same answer
    CONFLICT = "conflict"  # same sender id, other bytes: refused, the first stays
    ERASED = "erased"  # same sender id as something erased since: refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A record that could not be understood: where it is in the delivery, and why, in our words.

    `reason_code` is stable; `detail` names elements and rules, never values from the record.
    """

    position: str  # e.g. `entry[12]`, `line 7`
    record_type: str
    record_id: str
    digest: str
    reason_code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """The sender takes a record back and says nothing else of it, not even whose it is: a deletion.

    `source` names the record, and the bytes that said so; `source.updated_at` is when it was taken back.
    """

    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """Two patient records of a site are one person: what is under `gone` belongs to `kept`.

    Both are the site's ids. `is_undone` where the sender says that they are two people after all. It
    `lapses` where the sender says so in a Patient record, and holds only as long as that record says so.
    """

    gone: str
    kept: str
    source: Source
    is_undone: bool = False
    lapses: bool = False


@dataclass(slots=True, kw_only=True)
class Reading:
    """What was understood of a delivery. `counts` tells the rest: kinds, unmapped systems and units.

    Keys of `counts` are `record:<type>`, `skipped:<type>` (carries no event by design),
    `unmapped_system:<uri>`, `unmapped_unit:<text>`, `mapped_system:<uri>`. `code_map` is the digest of
    the site's code map that it was read with, if there was one.
    """

    events: list[Event] = field(default_factory=list)
    patients: dict[UUID, PatientRef] = field(default_factory=dict)
    quarantined: list[Quarantined] = field(default_factory=list)
    withdrawn: list[Withdrawn] = field(default_factory=list)
    merged: list[Merged] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    code_map: str = ""
    notification: Notification | None = None  # what a subscription said beside its records


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A record of a delivery that gave no events, without what it says: which, where from, and why."""

    delivery_id: UUID
    site: str
    position: str
    record_type: str
    reason_code: str
    detail: str  # names elements and rules, never values
    at: datetime
