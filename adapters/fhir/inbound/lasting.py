"""A lasting fact as two events: what was known at its start, and what was known only at its end."""

from datetime import datetime

from adapters.fhir.record import Record
from clinical.timeline.code import Code
from clinical.timeline.event import Event, EventKind, EventValue, Phase
from clinical.timeline.time import ClinicalTime


def lasting_events(  # noqa: PLR0913 - the sides in which lasting facts differ
    record: Record,
    kind: EventKind,
    names: tuple[Code, ...],
    *,
    ends: tuple[ClinicalTime | None, ClinicalTime | None],
    recorded_at: datetime | None,
    is_over: bool = True,
    start_value: EventValue = None,
    end_value: EventValue = None,
    status: str = "",
    category: str = "",
) -> list[Event]:
    """Start, and end where it `is_over`; the status of a fact that is over belongs to its end."""
    start, end = ends
    events = [
        record.event(
            kind,
            names,
            occurred_at=start,
            recorded_at=recorded_at,
            part="start",
            phase=Phase.START,
            value=start_value,
            status="" if is_over else status,
            category=category,
        )
    ]
    if is_over:
        events.append(
            record.end_event(
                kind,
                names,
                ended_at=end,
                recorded_at=recorded_at,
                value=end_value,
                status=status,
                category=category,
            )
        )
    return events
