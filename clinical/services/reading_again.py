"""What a question of the past read: not all that had come by then, but what was understood by then.

Shared by the services that ask again; not a journey itself. A delivery that had come and was not
understood yet when the question was asked gave it nothing, though its events say that they had come.
"""

from datetime import datetime, timedelta
from uuid import UUID

from clinical.services.ports import UnitOfWork
from clinical.timeline.timeline import Timeline

# Understanding is noted with the moment at which it began, and may have ended after the question.
_LONGEST_READING = timedelta(minutes=5)
MOST_LATE = 64


def as_it_was_read(
    uow: UnitOfWork,
    patient_id: UUID,
    as_of: datetime,
    received_by: datetime,
    input_digest: str,
    *,
    most_late: int = MOST_LATE,
) -> Timeline | None:
    """The timeline whose digest is that of the question's input; None where none is.

    Those deliveries that were understood last are left out one after the other: the digest tells
    where to stop. No more than `most_late` are left out.
    """
    whole = uow.timelines.of(patient_id)
    timeline = whole.cut(as_of, received_by=received_by)
    if timeline.is_input(input_digest):
        return timeline
    came = {
        each.event.source.delivery_id
        for each in whole.versions
        if each.event.received_at <= received_by
    }
    late = uow.inbox.recorded_since(came, received_by - _LONGEST_READING)[:most_late]
    for number in range(1, len(late) + 1):
        fewer = uow.timelines.of(patient_id, without=frozenset(late[:number]))
        timeline = fewer.cut(as_of, received_by=received_by)
        if timeline.is_input(input_digest):
            return timeline
    return None
