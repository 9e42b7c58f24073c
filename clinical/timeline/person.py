"""The events of several patient records that are, or once were, one person.

Knows which of them belong to a timeline at a moment, and from when. Does not know who said so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from clinical.timeline.event import Event, EventKind
from clinical.timeline.merge import Merges
from clinical.timeline.versions import Known, in_order, known, unique


@dataclass(frozen=True, slots=True)
class Person:
    """By patient all that is held, and what was said of merges; seen as of a cut, if there is one."""

    events: Mapping[UUID, Mapping[UUID, Event]]
    merges: Merges
    as_of: datetime | None = None
    received_by: datetime | None = None

    @classmethod
    def of(cls, events: Mapping[UUID, Iterable[Event]], merges: Merges) -> "Person":
        """Of events in whatever order and however often they came."""
        return cls({patient_id: unique(theirs) for patient_id, theirs in events.items()}, merges)

    def cut(self, as_of: datetime, received_by: datetime | None) -> "Person":
        """Seen as of an earlier moment; a later one changes nothing."""
        return replace(
            self,
            as_of=_earlier(self.as_of, as_of),
            received_by=_earlier(self.received_by, received_by),
        )

    @property
    def merged_until(self) -> datetime | None:
        """When anything was last said of merges that this cut may see."""
        seen = self.merges.within(self.as_of, self.received_by)
        return max((said.made[0] for said in seen.statements), default=None)

    def versions(self, patient_id: UUID) -> tuple[Known, ...]:
        """What the timeline of a patient holds: their own, and that of the records merged into theirs.

        Who somebody is (birth, sex) is said by the record that is kept, where it says anything.
        """
        own = self._known(patient_id)
        under = self.merges.under(patient_id, self.as_of, self.received_by)
        is_introduced = any(each.event.kind is EventKind.PATIENT for each in own)
        joined = [(each.event.event_id, each) for each in own]
        for gone, since in under.items():
            for at, event in self._known(gone):
                if not (is_introduced and event.kind is EventKind.PATIENT):
                    moved = replace(event, patient_id=patient_id)
                    joined.append((event.event_id, Known(max(at, since), moved)))
        return in_order(joined)

    def _known(self, patient_id: UUID) -> tuple[Known, ...]:
        held = {
            identity: event
            for identity, event in self.events.get(patient_id, {}).items()
            if self.received_by is None or event.received_at <= self.received_by
        }
        return tuple(each for each in known(held) if self.as_of is None or each.at <= self.as_of)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return min(one, other)
