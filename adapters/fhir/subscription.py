"""What a subscription's notification says: its status, in any of three forms, and what is to be read.

R4 says it as Parameters, R4B and R5 as SubscriptionStatus (R4B's also comes from R4 servers:
athenahealth). Counters are strings, integers or decimals, whatever the server writes. No reference
to another server is followed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from adapters.fhir import kinds
from adapters.fhir.errors import Reason
from adapters.fhir.references import is_valid_id
from clinical.subscription.notification import (
    Happened,
    Notification,
    NotificationKind,
    RecordRef,
    Standing,
)

Json = Mapping[str, Any]

STATUS_TYPES = ("Parameters", "SubscriptionStatus")
_HIGHEST = 2**63 - 1
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
class _Status:
    """A status in one form, whichever it came in."""

    kind: str
    standing: str
    subscription: str
    total: Any
    events: Sequence["_Event"]
    errors: Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    event_id: str
    number: Any
    focus: str


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
        entries = _objects(bundle.get("entry"))
        first = entries[0].get("resource") if entries else None
        status = _status(first) if isinstance(first, dict) else None
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
        total = _number(status.total)
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
                stated_at=_moment(bundle.get("timestamp")),
                error_codes=_error_codes(status.errors),
            ),
            complaints=tuple(complaints),
            named_at=frozenset(named_at),
        )

    def read_status(self, answer: Json, name: str) -> Notification | None:
        """What `$status` answers: a searchset with one status, or the status alone."""
        found = answer
        if answer.get("resourceType") == "Bundle":
            resources = [each.get("resource") for each in _objects(answer.get("entry"))]
            named = [each for each in resources if isinstance(each, dict) and _status(each)]
            found = named[0] if named else {}
        told = self.read({"entry": [{"resource": found}]}, name)
        return told.notification if told is not None else None

    def _kind(self, status: _Status, complaints: list[Complaint]) -> NotificationKind:
        kind = _KINDS.get(status.kind)
        if kind is None:
            complaints.append(_complaint("entry[0]", "the type of the notification is not known"))
        return kind or NotificationKind.EVENTS  # nothing is lost where it is looked at as one

    def _subscription_id(self, status: _Status, complaints: list[Complaint]) -> str:
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
        self, status: _Status, carried: "_Carried", complaints: list[Complaint]
    ) -> tuple[tuple[Happened, ...], bool]:
        """The events with what is to be read of each; whether something is said to have changed, not what."""
        sent, deleted, named = carried.sent, carried.deleted, carried.named
        happened: list[Happened] = []
        is_blind = not status.events and not sent and not named and not deleted
        for each in status.events:
            number = _number(each.number)
            if number is None and each.number is not None:
                complaints.append(_complaint("entry[0]", "an event number is no whole number"))
            unread: tuple[RecordRef, ...] = ()
            if each.focus:
                ref = self._named(each.focus, "entry[0]", complaints)
                is_open = ref is not None and ref not in sent and ref not in deleted
                unread = (ref,) if ref is not None and is_open else ()
            elif not sent and not named and not deleted:
                is_blind = True
            happened.append(Happened(number=number, event_id=each.event_id, unread=unread))
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
            said = [_text(entry.get("fullUrl")), _text(request.get("url"))]
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


def _status(resource: Json) -> _Status | None:
    if resource.get("resourceType") == "SubscriptionStatus":
        return _of_status(resource)
    if resource.get("resourceType") == "Parameters":
        return _of_parameters(resource)
    return None


def _of_status(resource: Json) -> _Status:
    return _Status(
        kind=_text(resource.get("type")),
        standing=_text(resource.get("status")),
        subscription=_reference(resource.get("subscription")),
        total=resource.get("eventsSinceSubscriptionStart"),
        events=[
            _Event(
                event_id=_text(each.get("id")),
                number=each.get("eventNumber"),
                focus=_reference(each.get("focus")),
            )
            for each in _objects(resource.get("notificationEvent"))
        ],
        errors=_objects(resource.get("error")),
    )


def _of_parameters(resource: Json) -> _Status | None:
    """Parameters whose names are those of a status, in kebab case or, as some write them, in camel case."""
    parameters = _objects(resource.get("parameter"))
    single = {_kebab(each.get("name")): _value(each) for each in parameters}
    if not {"subscription", "type"} & single.keys():
        return None
    return _Status(
        kind=_text(single.get("type")),
        standing=_text(single.get("status")),
        subscription=_reference(single.get("subscription")),
        total=single.get("events-since-subscription-start"),
        events=[
            _of_parts(each)
            for each in parameters
            if _kebab(each.get("name")) == "notification-event"
        ],
        errors=[_value(each) for each in parameters if each.get("name") == "error"],
    )


def _of_parts(parameter: Json) -> _Event:
    parts = {_kebab(part.get("name")): _value(part) for part in _objects(parameter.get("part"))}
    return _Event(
        event_id=_text(parameter.get("id")),
        number=parts.get("event-number"),
        focus=_reference(parts.get("focus")),
    )


def _value(parameter: Json) -> Any:
    return next((value for key, value in parameter.items() if key.startswith("value")), None)


def _kebab(name: object) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in _text(name))


def _number(value: object) -> int | None:
    """A counter in any of the forms seen: text, integer, or a decimal without a fraction."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        text = value.strip()
        value = int(text) if len(text) < 20 else -1
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return int(value) if is_whole and 0 <= value <= _HIGHEST else None  # type: ignore[operator, call-overload]


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _error_codes(errors: Sequence[Any]) -> tuple[str, ...]:
    """Codes of the status's errors; what they say in words may name patients."""
    found = [
        _text(coding.get("code"))
        for error in errors
        if isinstance(error, dict)
        for coding in _objects(error.get("coding"))
    ]
    plain = [code for code in found if is_valid_id(code)]
    if errors and not plain:
        return ("unspecified",)
    return tuple(dict.fromkeys(plain))


def _reference(value: object) -> str:
    return _text(value.get("reference")) if isinstance(value, dict) else _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _objects(value: object) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _complaint(position: str, detail: str) -> Complaint:
    return Complaint(position=position, reason=Reason.WRONG_TYPE, detail=detail)


def _foreign(position: str) -> Complaint:
    return Complaint(
        position=position,
        reason=Reason.FOREIGN_REFERENCE,
        detail="the reference is to another server, or to no record: it is not followed",
    )
