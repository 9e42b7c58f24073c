"""Versions of records: from when each was known, and which of them stand.

Knows events of whatever patient. Does not know cuts, nor whose timeline they make.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from clinical.timeline.event import Event, Standing

Record = tuple[str, str, str]
"""Site, type, id."""

Made = tuple[datetime, datetime, str]
"""When the sender made it, when it came, its bytes: what orders the versions of one record."""


class Known(NamedTuple):
    """A version of a fact and the moment from which it was known."""

    at: datetime
    event: Event


def record_of(event: Event) -> Record:
    """The record that the event was read from."""
    return event.fact_key[:3]


def made(event: Event) -> Made:
    """Orders the versions of one record; of two with one time of making the one that came later is later."""
    return (event.source.updated_at or event.received_at, event.received_at, event.source.digest)


def unique(events: Iterable[Event]) -> dict[UUID, Event]:
    """By identity; of a redelivered event the first receipt is when it became known to us."""
    found: dict[UUID, Event] = {}
    for event in events:
        identity = event.event_id
        held = found.get(identity)
        if held is None or event.received_at < held.received_at:
            found[identity] = event
    return found


def by_patient(events: Iterable[Event]) -> dict[UUID, list[Event]]:
    """The events of each patient, by whom they name."""
    found: defaultdict[UUID, list[Event]] = defaultdict(list)
    for event in events:
        found[event.patient_id].append(event)
    return found


def known(events: Mapping[UUID, Event]) -> tuple[Known, ...]:
    """Each version with the moment from which it was known, in that order.

    The first version of a record is known from when its fact was available. A later version
    cannot have been known before it was made, whatever clinical time it carries.
    """
    first: dict[Record, Made] = {}
    for event in events.values():
        record, when = record_of(event), made(event)
        if record not in first or when < first[record]:
            first[record] = when
    versions = []
    for identity, event in events.items():
        original = first[record_of(event)][2] == event.source.digest
        at = event.available_at if original else max(event.available_at, made(event)[0])
        versions.append((identity, Known(at, event)))
    return in_order(versions)


def in_order(versions: Iterable[tuple[UUID, Known]]) -> tuple[Known, ...]:
    """As they became known; of those known at once the earliest occurrence first, then by identity."""
    keyed = []
    for identity, (at, event) in versions:
        moment = event.available_at if event.occurred_at is None else event.occurred_at.earliest
        keyed.append((at, moment, identity.bytes, event))
    keyed.sort(key=lambda version: version[:3])
    return tuple(Known(version[0], version[3]) for version in keyed)


def standing(versions: tuple[Known, ...]) -> tuple[Known, ...]:
    """The parts of the newest version of each record, less the records that were withdrawn.

    A version that is asserted in one place and withdrawn in another (it moved to another patient)
    is asserted where both are seen.
    """
    newest: dict[Record, tuple[Made, bool]] = {}
    for _, event in versions:
        record = record_of(event)
        version = (made(event), event.standing is not Standing.RETRACTED)
        if record not in newest or newest[record] < version:
            newest[record] = version
    kept = []
    for each in versions:
        event = each.event
        when, is_standing = newest[record_of(event)]
        if (
            is_standing
            and event.source.digest == when[2]
            and event.standing is not Standing.RETRACTED
        ):
            kept.append(each)
    return tuple(kept)
