"""The ordered, de-duplicated events of one patient, with corrections and retractions applied."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from clinical.errors import RejectedError
from clinical.timeline.chain import Chain, Prefix, chain, nothing_of
from clinical.timeline.event import Event, Standing


class ForeignEventError(RejectedError):
    """An event of another patient was offered to a timeline."""

    code = "timeline.foreign_event"


class Known(NamedTuple):
    """A version of a fact and the moment from which it was known."""

    at: datetime
    event: Event


@dataclass(frozen=True)
class Timeline:
    """What was known about one patient; the events are in the order in which they became known.

    Build it with `Timeline.of`. It keeps every version of every record in `versions`, so that it
    can be cut at any earlier moment and shows what stood *then*; `standing` holds what stands now.
    """

    patient_id: UUID
    versions: tuple[Known, ...]
    standing: tuple[Known, ...]

    @classmethod
    def of(cls, patient_id: UUID, events: Iterable[Event]) -> "Timeline":
        """The timeline that these events make, in whatever order and however often they came.

        Raises:
            ForeignEventError: an event belongs to another patient.
        """
        unique: dict[UUID, Event] = {}
        for event in events:
            if event.patient_id != patient_id:
                raise ForeignEventError("an event of another patient was offered to a timeline")
            identity = event.event_id
            held = unique.get(identity)
            # Redelivered: the first receipt is when it became known to us.
            if held is None or event.received_at < held.received_at:
                unique[identity] = event
        return cls._from(patient_id, _known(unique))

    @classmethod
    def _from(cls, patient_id: UUID, versions: tuple[Known, ...]) -> "Timeline":
        return cls(patient_id, versions, _standing(versions))

    def cut(self, as_of: datetime, *, received_by: datetime | None = None) -> "Timeline":
        """What was known at `as_of`: availability decides, never occurrence alone.

        `received_by` also leaves out what had not reached us by then, which is how a past question
        is asked again. Corrections and retractions that came later do not act.
        """
        versions = self.versions
        if received_by is not None:
            # Which version was the first is asked of those that had come, not of all that came.
            held = (known.event for known in versions if known.event.received_at <= received_by)
            versions = _known({event.event_id: event for event in held})
        return Timeline._from(
            self.patient_id, tuple(known for known in versions if known.at <= as_of)
        )

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """The events that stand, in the order in which they became known."""
        return tuple(known.event for known in self.standing)

    @property
    def known_until(self) -> datetime | None:
        """When the newest version became known; None for an empty timeline."""
        return self.versions[-1].at if self.versions else None

    @cached_property
    def chain(self) -> Chain:
        """What a model may read, in order, sealed block by block."""
        return chain(nothing_of(self.patient_id), self.standing)

    def after(self, prefix: Prefix) -> "Timeline":
        """What stands beyond the first events, without the versions that led there.

        It cannot be cut again: that takes every version from the first.
        """
        rest = self.standing[prefix.num_events :]
        return Timeline(self.patient_id, rest, rest)

    @property
    def input_digest(self) -> str:
        """The identity of a question's input: the digest over the whole chain, with its version."""
        return self.chain.digest

    def is_input(self, digest: str) -> bool:
        """Whether `digest`, of whichever version, is that of this very timeline."""
        return digest == (self.input_digest if ":" in digest else self.digest)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of what a model may read, in order, in one piece (version 1)."""
        hasher = hashlib.sha256(self.patient_id.bytes)
        for known in self.standing:
            hasher.update(f"{known.at.isoformat()}\t{known.event.canonical()}\n".encode())
        return hasher.hexdigest()

    def __len__(self) -> int:
        return len(self.standing)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)


Record = tuple[str, str, str]  # site, type, id


def _known(unique: dict[UUID, Event]) -> tuple[Known, ...]:
    """Each version with the moment from which it was known, in that order.

    The first version of a record is known from when its fact was available. A later version
    cannot have been known before it was made, whatever clinical time it carries.
    """
    first: dict[Record, tuple[datetime, datetime, str]] = {}
    for event in unique.values():
        record, made = event.fact_key[:3], _made(event)
        if record not in first or made < first[record]:
            first[record] = made
    versions = []
    for identity, event in unique.items():
        original = first[event.fact_key[:3]][2] == event.source.digest
        at = event.available_at if original else max(event.available_at, _made(event)[0])
        moment = event.available_at if event.occurred_at is None else event.occurred_at.earliest
        versions.append((at, moment, identity.bytes, event))
    versions.sort(key=lambda version: version[:3])
    return tuple(Known(version[0], version[3]) for version in versions)


def _made(event: Event) -> tuple[datetime, datetime, str]:
    """Orders the versions of one record: when the sender made it, when it came, its bytes."""
    made = event.source.updated_at or event.received_at
    return (made, event.received_at, event.source.digest)


def _standing(versions: tuple[Known, ...]) -> tuple[Known, ...]:
    """The parts of the newest version of each record, less the records that were withdrawn."""
    newest: dict[Record, tuple[tuple[datetime, datetime, str], Standing]] = {}
    for _, event in versions:
        record, made = event.fact_key[:3], _made(event)
        if record not in newest or newest[record][0] <= made:
            newest[record] = (made, event.standing)
    kept = []
    for known in versions:
        made, standing = newest[known.event.fact_key[:3]]
        if known.event.source.digest == made[2] and standing is not Standing.RETRACTED:
            kept.append(known)
    return tuple(kept)
