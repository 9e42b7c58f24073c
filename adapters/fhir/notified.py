"""The readers of what an EHR sent because we subscribed, and of what it answered when we asked.

Both keep to the strict lane for records. `NotificationReader` adds what the status says;
`FetchedReader` that a record is gone.
"""

import json
from collections.abc import Callable, Mapping

from adapters.fhir.errors import Reason
from adapters.fhir.reader import StrictReader
from adapters.fhir.subscription import Complaint, Reader, Told
from adapters.fhir.ways import NO_WAYS, SiteWays
from clinical.services.delivery import Delivery, Quarantined, Reading, Withdrawn
from clinical.subscription.notification import Notification, NotificationKind
from clinical.timeline.event import Source

SUBSCRIPTION = "subscription"
"""The key of a delivery's context that names the subscription."""
METHOD = "method"
"""That of the HTTP method, where it says something: DELETE."""
HANDSHAKE = "handshake"
"""That of a handshake without a body."""
GONE = "gone"
"""That of an answer that says that there is no such record."""


class NotificationReader:
    """Door.FHIR_NOTIFICATION: what subscriptions send, topic-based or classic."""

    def __init__(
        self, reader_of: Callable[[str, str], Reader], ways: Mapping[str, SiteWays] = NO_WAYS
    ) -> None:
        """`reader_of` gives the reader of statuses for a site and the name of a subscription."""
        self._strict = StrictReader(ways)
        self._reader_of = reader_of

    def read(self, delivery: Delivery) -> Reading:
        """The records, and the notification; never raises for bad bytes."""
        name = delivery.context.get(SUBSCRIPTION, "")
        if not delivery.body.strip():
            return _without_body(delivery, name)
        reading = self._strict.read(delivery)
        told = self._told(delivery, name)
        if told is None:
            reading.notification = Notification(name=name, kind=NotificationKind.RECORD)
            return reading
        reading.notification = told.notification
        # What only names a record is to be read, not set aside; the status is no record at all.
        reading.quarantined = [
            *(each for each in reading.quarantined if not _is_told(each, told)),
            *(_quarantined(each, delivery) for each in told.complaints),
        ]
        reading.counts[f"notification:{told.notification.kind.value}"] += 1
        return reading

    def _told(self, delivery: Delivery, name: str) -> Told | None:
        try:
            found = json.loads(delivery.body)
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or found.get("resourceType") != "Bundle":
            return None
        return self._reader_of(delivery.site, name).read(found, name)


class FetchedReader:
    """Door.FHIR_FETCHED: a record, a page of a search, or word that there is no such record."""

    def __init__(self, ways: Mapping[str, SiteWays] = NO_WAYS) -> None:
        """`ways`: what is known of each site."""
        self._strict = StrictReader(ways)

    def read(self, delivery: Delivery) -> Reading:
        """What was answered; never raises for bad bytes."""
        if delivery.context.get(GONE):
            return Reading(withdrawn=[_withdrawn(delivery)])
        return self._strict.read(delivery)


def _without_body(delivery: Delivery, name: str) -> Reading:
    """A deletion, a handshake, or word that something changed."""
    if delivery.context.get(METHOD) == "DELETE":
        said = Notification(name=name, kind=NotificationKind.RECORD)
        return Reading(withdrawn=[_withdrawn(delivery)], notification=said)
    if delivery.context.get(HANDSHAKE):
        return Reading(notification=Notification(name=name, kind=NotificationKind.HANDSHAKE))
    said = Notification(name=name, kind=NotificationKind.PING, needs_query=True)
    return Reading(notification=said)


def _withdrawn(delivery: Delivery) -> Withdrawn:
    return Withdrawn(
        source=Source(
            site=delivery.site,
            record_type=delivery.context.get("type", ""),
            record_id=delivery.context.get("id", ""),
            version="",
            digest=delivery.digest,
            delivery_id=delivery.delivery_id,
            updated_at=delivery.received_at,  # by then it was gone; since when, nobody says
        )
    )


def _is_told(record: Quarantined, told: Told) -> bool:
    """Whether what the strict lane could not read was understood as part of the notification."""
    if record.reason_code == Reason.UNKNOWN_RESOURCE_TYPE.value:
        return record.position == "entry[0]"
    is_named = record.position in told.named_at
    return record.reason_code == Reason.ENTRY_WITHOUT_RESOURCE.value and is_named


def _quarantined(complaint: Complaint, delivery: Delivery) -> Quarantined:
    return Quarantined(
        position=complaint.position,
        record_type="",
        record_id="",
        digest=delivery.digest,
        reason_code=complaint.reason.value,
        detail=complaint.detail,
    )
