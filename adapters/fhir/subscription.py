"""What a subscription's notification says: its status, in any of three forms, and what is to be read.

R4 says it as Parameters, R4B and R5 as SubscriptionStatus (R4B's also comes from R4 servers:
athenahealth). Counters are strings, integers or decimals, whatever the server writes. No reference
to another server is followed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from adapters.fhir import kinds
from adapters.fhir.errors import Reason
from adapters.fhir.references import is_valid_id
from adapters.fhir.subscription_status import (
    Json,
    Status,
    error_codes,
    moment,
    number,
    objects,
    status_of,
    text,
)
from clinical.subscription.notification import (
    Happened,
    Notification,
    NotificationKind,
    RecordRef,
    Standing,
)

_READABLE = frozenset({kind.__name__ for kind in kinds.READ} | {"Medication"})
_KINDS = {kind.value: kind for kind in NotificationKind}
_STANDINGS = {
    "requested": Standing.REQUESTED,
    "active": Standing.ACTIVE,
    "error": Standing.ERROR,
    "off": Standing.OFF,
    "entered-in-error": Standing.OFF,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """Something in the status that cannot be used, where it stands, in our words."""

    position: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The notification, and what of it could not be used."""

    notification: Notification
    complaints: tuple[Complaint, ...] = ()
    named_at: frozenset[str] = frozenset()
    """The positions of entries that only name a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Carried:
    sent: set[RecordRef] = field(default_factory=set)
    deleted: set[RecordRef] = field(default_factory=set)
    named: list[RecordRef] = field(default_factory=list)


class Reader:
    """Reads notifications of one site's subscriptions; `bases` are the addresses of its FHIR server."""

    def __init__(self, bases: Sequence[str]) -> None:
        """References may begin with any of `bases`, or with none."""
        self._bases = tuple(f"{base.rstrip('/')}/" for base in bases if base)

    def read(self, bundle: Json, name: str) -> Told | None:
        """What the Bundle's status says of the subscription of this name; None where it has no status."""
        entries = objects(bundle.get("entry"))
        first = entries[0].get("resource") if entries else None
        status = status_of(first) if isinstance(first, dict) else None
        if status is None:
            return None
        complaints: list[Complaint] = []
        kind = self._kind(status, complaints)
        is_eventful = kind in (NotificationKind.EVENTS, NotificationKind.REPLAY)
        happened: tuple[Happened, ...] = ()
        needs_query = False
        named_at: set[str] = set()
        if is_eventful:
            happened, needs_query = self._happened(
                status, self._carried(bundle, complaints, named_at), complaints
            )
        total = number(status.total)
        if status.total is not None and total is None:
            complaints.append(_complaint("entry[0]", "the number of events is no whole number"))
        return Told(
            notification=Notification(
                name=name,
                kind=kind,
                ehr_id=self._subscription_id(status, complaints),
                standing=_STANDINGS.get(status.standing),
                total=total,
                happened=happened,
                needs_query=needs_query,
                stated_at=moment(bundle.get("timestamp")),
                error_codes=error_codes(status.errors),
            ),
            complaints=tuple(complaints),
            named_at=frozenset(named_at),
        )

    def read_status(self, answer: Json, name: str) -> Notification | None:
        """What `$status` answers: a searchset with one status, or the status alone."""
        found = answer
        if answer.get("resourceType") == "Bundle":
            resources = [each.get("resource") for each in objects(answer.get("entry"))]
            named = [each for each in resources if isinstance(each, dict) and status_of(each)]
            found = named[0] if named else {}
        told = self.read({"entry": [{"resource": found}]}, name)
        return told.notification if told is not None else None

    def _kind(self, status: Status, complaints: list[Complaint]) -> NotificationKind:
        kind = _KINDS.get(status.kind)
        if kind is None:
            complaints.append(_complaint("entry[0]", "the type of the notification is not known"))
        return kind or NotificationKind.EVENTS  # nothing is lost where it is looked at as one

    def _subscription_id(self, status: Status, complaints: list[Complaint]) -> str:
        if not status.subscription:
            return ""
        ref = self.target(status.subscription)
        if ref is None or ref.record_type != "Subscription":
            complaints.append(
                Complaint(
                    position="entry[0]",
                    reason=Reason.FOREIGN_REFERENCE,
                    detail="subscription: the reference is to another server, or to no subscription",
                )
            )
            return ""
        return ref.record_id

    def _happened(
        self, status: Status, carried: "_Carried", complaints: list[Complaint]
    ) -> tuple[tuple[Happened, ...], bool]:
        """The events with what is to be read of each; whether something is said to have changed, not what."""
        sent, deleted, named = carried.sent, carried.deleted, carried.named
        happened: list[Happened] = []
        is_blind = not status.events and not sent and not named and not deleted
        for each in status.events:
            counted = number(each.number)
            if counted is None and each.number is not None:
                complaints.append(_complaint("entry[0]", "an event number is no whole number"))
            unread: tuple[RecordRef, ...] = ()
            if each.focus:
                ref = self._named(each.focus, "entry[0]", complaints)
                is_open = ref is not None and ref not in sent and ref not in deleted
                unread = (ref,) if ref is not None and is_open else ()
            elif not sent and not named and not deleted:
                is_blind = True
            happened.append(Happened(number=counted, event_id=each.event_id, unread=unread))
        known = {ref for each in happened for ref in each.unread}
        others = tuple(ref for ref in named if ref not in known | sent | deleted)
        if others:
            happened.append(Happened(unread=others))
        return tuple(happened), is_blind

    def _carried(self, bundle: Json, complaints: list[Complaint], named_at: set[str]) -> "_Carried":
        """What the entries after the status hold, say was deleted, or only name."""
        carried = _Carried()
        entries = bundle.get("entry")
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            if index == 0 or not isinstance(entry, dict):
                continue
            resource = entry.get("resource")
            if isinstance(resource, dict):
                kind, record_id = resource.get("resourceType"), resource.get("id")
                carried.sent.add(RecordRef(str(kind), str(record_id)))
                continue
            request = entry.get("request")
            request = request if isinstance(request, dict) else {}
            # A create is requested at its type, and a fullUrl may be a URN: either may name the record.
            said = [text(entry.get("fullUrl")), text(request.get("url"))]
            ref = next((ref for each in said if (ref := self.target(each))), None)
            if not any(said):
                continue
            position = f"entry[{index}]"
            named_at.add(position)
            if ref is None:
                complaints.append(_foreign(position))
            elif request.get("method") == "DELETE":
                carried.deleted.add(ref)
            elif ref.record_type in _READABLE:
                carried.named.append(ref)
        return carried

    def _named(
        self, reference: str, position: str, complaints: list[Complaint]
    ) -> RecordRef | None:
        """The record to be read; None where it is not ours to read, or carries no event by design."""
        ref = self.target(reference)
        if ref is None:
            complaints.append(_foreign(position))
        return ref if ref is not None and ref.record_type in _READABLE else None

    def target(self, reference: str) -> RecordRef | None:
        """The record of this site that a reference names; None where it names none, or another server's."""
        for base in self._bases:
            if reference.startswith(base):
                reference = reference[len(base) :]
                break
        segments = reference.split("/")
        if len(segments) == 4 and segments[2] == "_history":
            segments = segments[:2]
        if len(segments) != 2 or not segments[0].isalpha() or not segments[0].isascii():
            return None
        return RecordRef(*segments) if is_valid_id(segments[1]) else None


def _complaint(position: str, detail: str) -> Complaint:
    return Complaint(position=position, reason=Reason.WRONG_TYPE, detail=detail)


def _foreign(position: str) -> Complaint:
    return Complaint(
        position=position,
        reason=Reason.FOREIGN_REFERENCE,
        detail="the reference is to another server, or to no record: it is not followed",
    )
