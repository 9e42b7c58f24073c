"""The demo of intensive care: real, de-identified stays, sent and asked about as their hours went by.

The stays lie in shifted years to come, so nothing of them is known "by now": they come in as an import
without questions, and each is asked at a moment of its own. After two days where the stay was as long,
else after one; a patient who left sooner is asked about just after the admission, when too little is
known to answer. Of the long ones it is also asked what would have been said a day before, so that
`clinical audit` has something to compare.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from adapters.assembly.worker import Parts
from clinical.audit.entry import Act
from clinical.prediction.request import Purpose
from clinical.services.delivery import Delivery, Door
from clinical.timeline.event import EventKind, Phase
from clinical.timeline.timeline import Timeline
from pipelines.demo import ACTOR, Bundle, SignedWebhook, Story, asked_before
from pipelines.samples import FOLDER, icu_bundles

SITE = "mimic-iv-demo"
CHECKPOINT = FOLDER / "checkpoints" / "icu-open"
_JUST_ADMITTED, _ONE_DAY, _TWO_DAYS = (timedelta(hours=hours) for hours in (2, 24, 48))
_SLACK = timedelta(hours=1)  # the last hour of a stay may be charted at its beginning

Question = tuple[Purpose, UUID, datetime]


def send(parts: Parts, bundles: list[Bundle], _webhook: SignedWebhook) -> Iterator[int]:
    """Take in each stay as `clinical import` does; yields how many were taken in so far."""
    for number, (_, body) in enumerate(bundles, start=1):
        delivery = Delivery(
            delivery_id=parts.identities.new(),
            site=SITE,
            door=Door.FHIR_BULK,
            sender_id=hashlib.sha256(body).hexdigest(),
            body=body,
            content_type="application/fhir+json",
            received_at=parts.clock.now(),
        )
        act = Act(actor=ACTOR, at=parts.clock.now())
        receipt = parts.intake.receive(delivery, act, understand_later=False)
        parts.intake.record(receipt.delivery_id, act, predict=False)
        yield number


def ask(parts: Parts) -> None:
    """Owe every question that was not answered before."""
    asked = {
        (purpose, *question)
        for purpose in (Purpose.RETROSPECTIVE, Purpose.REVIEW)
        for question in asked_before(parts, purpose)
    }
    with parts.open_unit_of_work() as uow:
        timelines = [uow.timelines.of(patient_id) for patient_id in uow.timelines.patient_ids()]
    for timeline in timelines:
        for question in questions(timeline):
            if question not in asked:
                purpose, patient_id, moment = question
                parts.intake.request_prediction(
                    patient_id, purpose=purpose, as_of=moment.isoformat()
                )


def questions(timeline: Timeline) -> Iterator[Question]:
    """What to ask about a stay, by how long it was charted."""
    admitted = _admitted(timeline)
    charted = max(_charted(timeline), default=admitted) - admitted + _SLACK
    if charted >= _TWO_DAYS:
        yield Purpose.RETROSPECTIVE, timeline.patient_id, admitted + _ONE_DAY
        yield Purpose.REVIEW, timeline.patient_id, admitted + _TWO_DAYS
    elif charted >= _ONE_DAY:
        yield Purpose.REVIEW, timeline.patient_id, admitted + _ONE_DAY
    else:
        yield Purpose.REVIEW, timeline.patient_id, admitted + _JUST_ADMITTED


def _admitted(timeline: Timeline) -> datetime:
    starts = [
        event.occurred_at.earliest
        for event in timeline
        if event.kind is EventKind.ENCOUNTER and event.phase is Phase.START and event.occurred_at
    ]
    return min(starts)


def _charted(timeline: Timeline) -> Iterator[datetime]:
    for event in timeline:
        if event.kind is EventKind.OBSERVATION and event.occurred_at is not None:
            yield event.occurred_at.latest


INTENSIVE_CARE = Story(name="icu", bundles=icu_bundles, send=send, ask=ask)
"""Stays of the MIMIC-IV demo."""
