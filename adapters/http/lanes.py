"""A timeline as lanes of marks: one lane for each sort of fact, never more marks than asked for.

Knows which sort goes into which lane and how marks are joined. Leaves no event uncounted.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from adapters.http.facts import fact_of
from adapters.http.schemas import Lane, Mark, TimelineShape
from clinical.timeline.event import Event, EventKind, Phase
from clinical.timeline.timeline import Known, Timeline

_LANES = {
    EventKind.ENCOUNTER: "Encounters",
    EventKind.DEATH: "Encounters",
    EventKind.CONDITION: "Conditions",
    EventKind.ALLERGY: "Allergies",
    EventKind.MEDICATION_REQUEST: "Medications",
    EventKind.MEDICATION_ADMINISTRATION: "Medications",
    EventKind.MEDICATION_STATEMENT: "Medications",
    EventKind.PROCEDURE: "Procedures",
    EventKind.IMMUNIZATION: "Immunizations",
    EventKind.CARE_PLAN: "Plans and orders",
    EventKind.SERVICE_REQUEST: "Plans and orders",
    EventKind.DIAGNOSTIC_REPORT: "Reports",
    EventKind.DOCUMENT: "Documents",
}
_OBSERVATIONS = {"vital-signs": "Vitals", "laboratory": "Labs"}
_ORDER = (
    "Encounters",
    "Conditions",
    "Allergies",
    "Vitals",
    "Labs",
    "Other observations",
    "Medications",
    "Procedures",
    "Immunizations",
    "Plans and orders",
    "Reports",
    "Documents",
)


def lanes_of(
    timeline: Timeline, as_of: datetime, *, max_marks: int, since: datetime | None = None
) -> TimelineShape:
    """The lanes of what was known at `as_of`; facts that ended before `since` are only counted."""
    lanes: defaultdict[str, list[Mark]] = defaultdict(list)
    num_static = num_earlier = 0
    for mark, event in _marks(timeline):
        if event.kind is EventKind.PATIENT:
            num_static += 1
        elif since is not None and (mark.until or mark.at) < since and not _is_lasting(mark):
            num_earlier += mark.count
        else:
            lanes[_lane(event)].append(mark)
    joined = _joined(lanes, max_marks)
    return TimelineShape(
        as_of=as_of,
        num_events=len(timeline),
        num_static=num_static,
        num_earlier=num_earlier,
        num_marks=sum(len(marks) for marks in joined.values()),
        lanes=[Lane(name=name, marks=joined[name]) for name in _ORDER if name in joined],
    )


def _lane(event: Event) -> str:
    if event.kind is EventKind.OBSERVATION:
        return _OBSERVATIONS.get(event.category, "Other observations")
    return _LANES[event.kind]


def _marks(timeline: Timeline) -> Iterator[tuple[Mark, Event]]:
    """A mark for each event; the end of a lasting fact joins the mark of its start."""
    end_of = _ends(timeline)
    ends = {end.event.event_id for end in end_of.values()}
    for known in timeline.standing:
        if known.event.event_id not in ends:
            yield _mark(known, end_of.get(known.event.event_id)), known.event


def _ends(timeline: Timeline) -> dict[UUID, Known]:
    """The end of each start, where both are of one visit or one record."""
    starts: defaultdict[tuple[str, ...], list[UUID]] = defaultdict(list)
    for event in timeline.events:
        if event.phase is Phase.START:
            starts[_lasting(event)].append(event.event_id)
    found = {}
    for known in timeline.standing:
        waiting = starts[_lasting(known.event)] if known.event.phase is Phase.END else []
        if waiting:
            found[waiting.pop(0)] = known
    return found


def _lasting(event: Event) -> tuple[str, ...]:
    """What lasts: a visit, whose start and end may be told by records of their own, or else a record."""
    if event.kind is EventKind.ENCOUNTER and event.encounter:
        return (event.source.site, event.encounter)
    return event.fact_key[:3]


def _mark(known: Known, end: Known | None) -> Mark:
    event = known.event
    return Mark(
        at=_moment(known),
        until=None if end is None else max(_moment(end), _moment(known)),
        is_time_stated=event.occurred_at is not None,
        count=1 if end is None else 2,
        phase=event.phase,
        fact=fact_of(known),
    )


def _moment(known: Known) -> datetime:
    occurred = known.event.occurred_at
    return known.at if occurred is None else occurred.earliest


def _is_lasting(mark: Mark) -> bool:
    return mark.phase is Phase.START and mark.until is None


def _joined(lanes: dict[str, list[Mark]], max_marks: int) -> dict[str, list[Mark]]:
    """The same lanes with neighbours joined until all together keep to `max_marks`."""
    for marks in lanes.values():
        marks.sort(key=lambda mark: mark.at)
    total = sum(len(marks) for marks in lanes.values())
    if total <= max_marks:
        return lanes
    # One mark for each lane is set aside, so that rounding down leaves no lane empty.
    to_share = max(max_marks - len(lanes), 0)
    return {
        name: _chunked(marks, 1 + to_share * len(marks) // total) for name, marks in lanes.items()
    }


def _chunked(marks: list[Mark], num_chunks: int) -> list[Mark]:
    size = -(-len(marks) // num_chunks)
    return [_join(marks[i : i + size]) for i in range(0, len(marks), size)]


def _join(marks: list[Mark]) -> Mark:
    newest = marks[-1]
    if len(marks) == 1:
        return newest
    return newest.model_copy(
        update={
            "at": marks[0].at,
            "until": max(mark.until or mark.at for mark in marks),
            "count": sum(mark.count for mark in marks),
            "is_time_stated": all(mark.is_time_stated for mark in marks),
            "phase": Phase.POINT,
        }
    )


def since_days(as_of: datetime, days: int | None) -> datetime | None:
    """The moment `days` before `as_of`."""
    return None if days is None else as_of - timedelta(days=days)
