"""Records that their sender deleted: named by type and id, and by nothing else.

Knows where a deletion is told: an entry of a Bundle, or a request to the address of a record. Does not
know whose record it was.
"""

import hashlib

from adapters.fhir.bundle import SINGLE, Deletion, Slice
from adapters.fhir.errors import Reason, RecordError
from adapters.fhir.references import Target, target_of
from adapters.fhir.release import RESOURCE_TYPES
from adapters.fhir.time import latest
from clinical.services.delivery import Delivery, Withdrawn
from clinical.timeline.event import Source
from clinical.timeline.time import ImpossibleTimeError


def addressed(delivery: Delivery) -> Slice:
    """A DELETE to the address of a record: so HAPI tells of deletions, to subscriptions that ask for it.

    The door says by `method`, `type` and `id` in the delivery's context what was asked.
    """
    context = delivery.context
    url = f"{context.get('type', '')}/{context.get('id', '')}"
    return Slice(b"", SINGLE, deletion=Deletion(url, url.encode(), None))


def named(deletion: Deletion, bases: tuple[str, ...] = ()) -> Target:
    """Type and id of what was deleted; empty where that is not one record: a search, or one version.

    Where `bases` are given, a record of another server is none of ours.
    """
    if "/_history/" in deletion.url:
        return "", ""
    try:
        record_type, record_id = target_of(deletion.url, {}, "request.url", bases)
    except RecordError:
        return "", ""
    return (record_type, record_id) if record_type in RESOURCE_TYPES else ("", "")


def withdrawn(deletion: Deletion, delivery: Delivery, bases: tuple[str, ...] = ()) -> Withdrawn:
    """A record of which nothing more is known than that it was deleted.

    What says so is named by its bytes and by when it was done: the next deletion of that record, in
    the same words, is another one.

    Raises:
        RecordError: no one record is named, or the time is impossible.
    """
    record_type, record_id = named(deletion, bases)
    if not record_type:
        raise RecordError(
            Reason.DELETION_NOT_READ, "request.url: a deletion is read where it names Type/id"
        )
    # A file of deletions says it itself, or the export that it belongs to does: by then it was gone.
    stated = deletion.deleted_at or delivery.context.get("transaction_time")
    try:
        deleted_at = latest(stated) if stated else None
    except ImpossibleTimeError as error:
        raise RecordError(Reason.IMPOSSIBLE_TIME, f"lastModified: {error}") from error
    moment = deleted_at or delivery.received_at
    source = Source(
        site=delivery.site,
        record_type=record_type,
        record_id=record_id,
        digest=hashlib.sha256(deletion.raw + moment.isoformat().encode()).hexdigest(),
        delivery_id=delivery.delivery_id,
        updated_at=deleted_at,
    )
    return Withdrawn(source=source)
