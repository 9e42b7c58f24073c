"""Our subscriptions at an EHR: made, looked for, asked about, renewed, removed.

What is written is made anew from the sites file each time: what a server shows of a subscription may
lack its headers. Knows three forms: R4's criteria, the backport of topics to R4 and R4B, and R5.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote

from adapters.egress.errors import PeerRefusedError
from adapters.egress.peer import Answer, Peer
from adapters.fhir.assessment import URI_SYSTEM
from adapters.fhir.client import UnknownEhrError
from adapters.fhir.source import ACCEPT, FHIR_JSON, fetched
from adapters.fhir.subscription import Reader
from adapters.sites.subscriptions import StaticHeader, Subscription
from clinical.errors import RejectedError
from clinical.services.ports import Clock, Fetched, Made, NoLongerHeldError, UnsupportedByEhrError
from clinical.subscription.notification import Notification, NotificationKind, Standing
from clinical.subscription.plan import SubscriptionPlan

_BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
_CHANNEL_TYPE = "http://terminology.hl7.org/CodeSystem/subscription-channel-type"
_JSON_HEADERS = {**ACCEPT, "Content-Type": FHIR_JSON}
_GONE = (404, 410)
_UNSUPPORTED = (400, 404, 405, 422, 501)

Key = tuple[str, str]
"""Site and name."""


class NoPublicUrlError(RejectedError):
    """Nobody said where EHRs reach this service, so none can be told where to notify."""

    code = "subscription.no_public_url"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One subscription with the server that keeps it; `endpoint` is our address.

    As the EHR calls it; empty where nobody said where we are.
    """

    peer: Peer
    stated: Subscription
    plan: SubscriptionPlan
    endpoint: str
    reader: Reader

    @property
    def address(self) -> str:
        """The endpoint; raises NoPublicUrlError."""
        if not self.endpoint:
            raise NoPublicUrlError("set CLINICAL_PUBLIC_URL: the EHR must know where to notify")
        return self.endpoint


class FhirSubscriptions:
    """Implements the port `SubscriptionServer` over HTTP, and makes and removes subscriptions."""

    def __init__(self, channels: Mapping[Key, Channel], clock: Clock) -> None:
        """`channels` are by site and name."""
        self._channels = channels
        self._clock = clock

    def create(self, site: str, name: str) -> Made:
        """Make it, or bring the one that leads to our address up to date; once, however often called.

        Raises:
            UnknownEhrError, and as Peer.ask does.
        """
        channel = self._channel(site, name)
        ends_at = self._ends_at(channel)
        resource = resource_of(channel, ends_at)
        found = self.find(site, name)
        if found:
            self._put(channel, found, ends_at)
            return Made(ehr_id=found, ends_at=ends_at, was_there=True)
        answer = channel.peer.ask(
            "POST",
            "Subscription",
            headers={
                **_JSON_HEADERS,
                "If-None-Exist": _search_of(channel),
                "Prefer": "return=representation",
            },
            content=_encoded(resource),
        )
        made = _id_in(answer) or self.find(site, name)
        if not made:
            raise NoLongerHeldError("the EHR did not say under which id it holds the subscription")
        return Made(ehr_id=made, ends_at=ends_at, was_there=answer.status == 200)

    def find(self, site: str, name: str) -> str:
        """The id of the subscription that leads to our address; empty where there is none to be found."""
        channel = self._channel(site, name)
        try:
            answer = channel.peer.ask("GET", f"Subscription?{_search_of(channel)}", headers=ACCEPT)
        except PeerRefusedError:
            return (
                ""  # not searchable here: the conditional create finds it, or the EHR's people do
            )
        page = answer.document()
        entries = page.get("entry")
        for entry in entries if isinstance(entries, list) else []:
            resource = entry.get("resource") if isinstance(entry, dict) else None
            # A server may ignore a search parameter and return everything.
            if isinstance(resource, dict) and _endpoint_of(resource) == channel.address:
                return str(resource.get("id") or "")
        return ""

    def status(self, site: str, name: str, ehr_id: str) -> Notification:
        """By `$status`, or where there is none by what the subscription itself says.

        Raises:
            UnknownEhrError, NoLongerHeldError, and as Peer.ask does.
        """
        channel = self._channel(site, name)
        try:
            answer = channel.peer.ask("GET", f"Subscription/{ehr_id}/$status", headers=ACCEPT)
            told = channel.reader.read_status(answer.document(), name)
        except PeerRefusedError as error:
            if error.status not in _UNSUPPORTED:
                raise
            told = None
        return told or _as_read(self._read(channel, ehr_id), name)

    def events(self, site: str, name: str, ehr_id: str, first: int, last: int) -> Fetched:
        """By `$events`, both ends included.

        Raises:
            UnsupportedByEhrError, and as Peer.ask does.
        """
        channel = self._channel(site, name)
        content = "id-only" if channel.stated.content == "empty" else channel.stated.content
        asked = f"Subscription/{ehr_id}/$events"
        where = f"{asked}?eventsSinceNumber={first}&eventsUntilNumber={last}&content={content}"
        try:
            answer = channel.peer.ask("GET", where, headers=ACCEPT)
        except PeerRefusedError as error:
            if error.status in _UNSUPPORTED:
                raise UnsupportedByEhrError("the EHR has no $events") from error
            raise
        if answer.document().get("resourceType") != "Bundle":
            raise UnsupportedByEhrError("the EHR answered $events with something else")
        return fetched(asked, answer)

    def reactivate(self, site: str, name: str, ehr_id: str) -> None:
        """Set it back to requested; raises NoLongerHeldError, and as Peer.ask does."""
        self.renew(site, name, ehr_id)

    def renew(self, site: str, name: str, ehr_id: str) -> datetime | None:
        """Write it anew, with another end; raises NoLongerHeldError, and as Peer.ask does."""
        channel = self._channel(site, name)
        ends_at = self._ends_at(channel)
        self._put(channel, ehr_id, ends_at)
        return ends_at

    def remove(self, site: str, name: str, ehr_id: str) -> None:
        """Delete it at the EHR; nothing where it is gone. Raises as Peer.ask does."""
        try:
            self._channel(site, name).peer.ask("DELETE", f"Subscription/{ehr_id}", headers=ACCEPT)
        except PeerRefusedError as error:
            if error.status not in _GONE:
                raise

    def _put(self, channel: Channel, ehr_id: str, ends_at: datetime | None) -> None:
        held = self._read(channel, ehr_id)
        version = held.headers.get("etag", "")
        channel.peer.ask(
            "PUT",
            f"Subscription/{ehr_id}",
            headers={**_JSON_HEADERS, **({"If-Match": version} if version else {})},
            content=_encoded({**resource_of(channel, ends_at), "id": ehr_id}),
        )

    def _read(self, channel: Channel, ehr_id: str) -> Answer:
        try:
            answer = channel.peer.ask("GET", f"Subscription/{ehr_id}", headers=ACCEPT)
        except PeerRefusedError as error:
            if error.status in _GONE:
                raise NoLongerHeldError("the EHR does not hold the subscription") from error
            raise
        answer.document()
        return answer

    def _ends_at(self, channel: Channel) -> datetime | None:
        lifetime = channel.plan.lifetime
        return None if lifetime is None else self._clock.now() + lifetime

    def _channel(self, site: str, name: str) -> Channel:
        channel = self._channels.get((site, name))
        if channel is None:
            raise UnknownEhrError("the site has no FHIR server, or no subscription of this name")
        return channel


def resource_of(channel: Channel, ends_at: datetime | None) -> dict[str, Any]:
    """The Subscription as it is to be written, in the site's form."""
    stated = channel.stated
    end = {} if ends_at is None else {"end": _instant(ends_at)}
    if stated.form == "r5":
        return {**_r5(channel), **end}
    resource: dict[str, Any] = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": stated.reason,
        "criteria": stated.topic,
        **end,
        "channel": _r4_channel(channel),
    }
    if stated.form == "backport":
        resource["meta"] = {"profile": [f"{_BACKPORT}/backport-subscription"]}
        if stated.filters:
            filters = [_extension("filter-criteria", valueString=each) for each in stated.filters]
            resource["_criteria"] = {"extension": filters}
    return resource


def _r4_channel(channel: Channel) -> dict[str, Any]:
    stated = channel.stated
    found: dict[str, Any] = {"type": "rest-hook", "endpoint": channel.address}
    if stated.form == "backport" or stated.content != "empty":
        found["payload"] = FHIR_JSON
    if headers := _headers(stated):
        found["header"] = [f"{name}: {value}" for name, value in headers]
    if stated.form == "backport":
        content = _extension("payload-content", valueCode=stated.content)
        found["_payload"] = {"extension": [content]}
        lengths = {
            "heartbeat-period": ("valueUnsignedInt", stated.heartbeat_seconds),
            "timeout": ("valueUnsignedInt", stated.timeout_seconds),
            "max-count": ("valuePositiveInt", stated.max_count),
        }
        found["extension"] = [
            _extension(name, **{kind: value}) for name, (kind, value) in lengths.items() if value
        ]
    return found


def _r5(channel: Channel) -> dict[str, Any]:
    stated = channel.stated
    counts = {
        "heartbeatPeriod": stated.heartbeat_seconds,
        "timeout": stated.timeout_seconds,
        "maxCount": stated.max_count,
    }
    return {
        "resourceType": "Subscription",
        "identifier": [{"system": URI_SYSTEM, "value": _identifier(channel)}],
        "name": channel.plan.name,
        "status": "requested",
        "topic": stated.topic,
        "reason": stated.reason,
        "filterBy": [each for stated_filter in stated.filters for each in _filters(stated_filter)],
        "channelType": {"system": _CHANNEL_TYPE, "code": "rest-hook"},
        "endpoint": channel.address,
        "parameter": [{"name": name, "value": value} for name, value in _headers(stated)],
        "contentType": FHIR_JSON,
        "content": stated.content,
        **{name: value for name, value in counts.items() if value},
    }


def _filters(stated: str) -> list[dict[str, str]]:
    """`Type?parameter=value&…` as R5 says it."""
    kind, _, query = stated.rpartition("?")
    of_type = {"resourceType": kind} if kind else {}
    return [
        {**of_type, "filterParameter": name, "value": value} for name, value in parse_qsl(query)
    ]


def _headers(stated: Subscription) -> list[tuple[str, str]]:
    """What the EHR is to send with each notification."""
    if isinstance(stated.proof, StaticHeader):
        return [(stated.proof.name, stated.proof.values[0].value)]
    return []


def _identifier(channel: Channel) -> str:
    return f"urn:uuid:{channel.plan.subscription_id}"


def _search_of(channel: Channel) -> str:
    """By our identifier where subscriptions have one (R5), else by our address, which is theirs alone."""
    if channel.stated.form == "r5":
        return f"identifier={quote(f'{URI_SYSTEM}|{_identifier(channel)}', safe='')}"
    return f"url={quote(channel.address, safe='')}"


def _endpoint_of(resource: Mapping[str, Any]) -> object:
    channel = resource.get("channel")
    of_channel = channel.get("endpoint") if isinstance(channel, dict) else None
    return of_channel or resource.get("endpoint")


def _as_read(answer: Answer, name: str) -> Notification:
    standing = str(answer.document().get("status"))
    known = {each.value: each for each in Standing}
    return Notification(name=name, kind=NotificationKind.STATUS, standing=known.get(standing))


def _id_in(answer: Answer) -> str:
    """Where the answer says that it is: in the resource, or in its address."""
    if answer.body:
        found = answer.document()
        if found.get("resourceType") == "Subscription" and found.get("id"):
            return str(found["id"])
    segments = answer.headers.get("location", "").split("/")
    at = segments.index("Subscription") if "Subscription" in segments[:-1] else -1
    return segments[at + 1] if at >= 0 else ""


def _extension(name: str, **value: object) -> dict[str, object]:
    return {"url": f"{_BACKPORT}/backport-{name}", **value}


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encoded(resource: Mapping[str, Any]) -> bytes:
    return json.dumps(resource).encode()
