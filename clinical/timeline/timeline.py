"""The ordered, de-duplicated events of one patient, with corrections and retractions applied."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

from clinical.errors import RejectedError
from clinical.timeline.chain import Chain, Prefix, chain, nothing_of
from clinical.timeline.event import Event
from clinical.timeline.merge import Merges
from clinical.timeline.person import Person
from clinical.timeline.versions import Known, known, standing, unique

__all__ = ["ForeignEventError", "Known", "Timeline"]


class ForeignEventError(RejectedError):
    """An event of another patient was offered to a timeline."""

    code = "timeline.foreign_event"


@dataclass(frozen=True)
class Timeline:
    """What was known about one patient; the events are in the order in which they became known.

    Build it with `Timeline.of`. It keeps every version of every record in `versions`, so that it
    can be cut at any earlier moment and shows what stood *then*; `standing` holds what stands now.
    `person` is there where other records of the same person were ever merged with this one.
    """

    patient_id: UUID
    versions: tuple[Known, ...]
    standing: tuple[Known, ...]
    person: Person | None = None

    @classmethod
    def of(cls, patient_id: UUID, events: Iterable[Event]) -> "Timeline":
        """The timeline that these events make, in whatever order and however often they came.

        Raises:
            ForeignEventError: an event belongs to another patient.
        """
        events = tuple(events)
        if any(event.patient_id != patient_id for event in events):
            raise ForeignEventError("an event of another patient was offered to a timeline")
        return cls._from(patient_id, known(unique(events)))

    @classmethod
    def of_person(
        cls, patient_id: UUID, events: Mapping[UUID, Iterable[Event]], merges: Merges
    ) -> "Timeline":
        """As `of`, with what is under other records as long as they are merged into this one.

        `events` are by the patient whom each names. Those of a merged record are known from when it
        was said to be the same person, and carry the identity of the patient whose timeline it is.
        """
        if not merges.statements:
            return cls.of(patient_id, events.get(patient_id, ()))
        return cls._of(patient_id, Person.of(events, merges))

    @classmethod
    def _of(cls, patient_id: UUID, person: Person) -> "Timeline":
        versions = person.versions(patient_id)
        return cls(patient_id, versions, standing(versions), person)

    @classmethod
    def _from(cls, patient_id: UUID, versions: tuple[Known, ...]) -> "Timeline":
        return cls(patient_id, versions, standing(versions))

    def cut(self, as_of: datetime, *, received_by: datetime | None = None) -> "Timeline":
        """What was known at `as_of`: availability decides, never occurrence alone.

        `received_by` also leaves out what had not reached us by then, which is how a past question
        is asked again. Corrections and retractions that came later do not act.
        """
        if self.person is not None:
            return Timeline._of(self.patient_id, self.person.cut(as_of, received_by))
        versions = self.versions
        if received_by is not None:
            # Which version was the first is asked of those that had come, not of all that came.
            held = (each.event for each in versions if each.event.received_at <= received_by)
            versions = known({event.event_id: event for event in held})
        return Timeline._from(self.patient_id, tuple(each for each in versions if each.at <= as_of))

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """The events that stand, in the order in which they became known."""
        return tuple(each.event for each in self.standing)

    @property
    def known_until(self) -> datetime | None:
        """When the newest version became known, or that records are one; None for an empty timeline."""
        if not self.versions:
            return None
        newest = self.versions[-1].at
        merged = None if self.person is None else self.person.merged_until
        return newest if merged is None else max(newest, merged)

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
        for at, event in self.standing:
            hasher.update(f"{at.isoformat()}\t{event.canonical()}\n".encode())
        return hasher.hexdigest()

    def __len__(self) -> int:
        return len(self.standing)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)
