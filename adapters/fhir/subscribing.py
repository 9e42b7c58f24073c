"""Our subscriptions at an EHR: made, looked for, asked about, renewed, removed.

What is written is made anew from the sites file each time: what a server shows of a subscription may
lack its headers. Knows three forms: R4's criteria, the backport of topics to R4 and R4B, and R5.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from adapters.egress.errors import PeerRefusedError
from adapters.egress.peer import Answer
from adapters.fhir.assessment import URI_SYSTEM
from adapters.fhir.client import UnknownEhrError
from adapters.fhir.source import ACCEPT, FHIR_JSON, fetched
from adapters.fhir.subscription_forms import Channel, identifier_of, resource_of
from clinical.services.ports import Clock, Fetched, Made, NoLongerHeldError, UnsupportedByEhrError
from clinical.subscription.notification import Notification, NotificationKind, Standing

_JSON_HEADERS = {**ACCEPT, "Content-Type": FHIR_JSON}
_GONE = (404, 410)
_UNSUPPORTED = (400, 404, 405, 422, 501)

Key = tuple[str, str]
"""Site and name."""


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


def _search_of(channel: Channel) -> str:
    """By our identifier where subscriptions have one (R5), else by our address, which is theirs alone."""
    if channel.stated.form == "r5":
        return f"identifier={quote(f'{URI_SYSTEM}|{identifier_of(channel)}', safe='')}"
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


def _encoded(resource: Mapping[str, Any]) -> bytes:
    return json.dumps(resource).encode()
