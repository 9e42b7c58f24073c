"""An HL7 v2 merge (A40) from the bytes to the timeline: what was under the gone record is under the kept."""

from datetime import timedelta
from uuid import uuid4

import pytest

from adapters.hl7v2.reader import Hl7v2Reader
from clinical.audit.entry import Act
from clinical.services.delivery import Delivery, Door
from clinical.services.intake import Intake
from clinical.services.ports import OpenUnitOfWork
from clinical.timeline.event import EventKind
from clinical.timeline.patient import PatientRef
from tests.adapters.hl7v2.messages import PID, RECEIVED, SITE, message, rules
from tests.adapters.hl7v2.test_movements import adt, pv1
from tests.fakes import SeededIdentities, SettableClock

KEPT, GONE = (PatientRef(SITE, name).patient_id for name in ("p1", "p2"))


@pytest.mark.integration
def test_the_visit_of_the_gone_record_is_in_the_timeline_of_the_kept_one(
    open_unit_of_work: OpenUnitOfWork, identities: SeededIdentities
) -> None:
    clock = SettableClock(RECEIVED)
    intake = Intake(
        open_unit_of_work=open_unit_of_work,
        clock=clock,
        identities=identities,
        readers={Door.HL7V2: Hl7v2Reader({SITE: rules()})},
    )
    elsewhere = PID.replace("p1^", "p2^")
    for body in (
        adt("A01", pv1(visit="v1^^^VN")),
        adt("A01", pv1(visit="v2^^^VN"), at="20240601070001-0400", pid=elsewhere),
        message("ADT^A40", PID, "MRG|p2^^^MRN^MR", control_id="M40"),
    ):
        moment = clock.advance(timedelta(minutes=1))
        delivery = Delivery(
            delivery_id=uuid4(),
            site=SITE,
            door=Door.HL7V2,
            sender_id=f"ADT|GHH|{moment.isoformat()}",
            body=body,
            content_type="x-application/hl7-v2+er7",
            received_at=moment,
        )
        act = Act(actor="worker", at=moment)
        intake.receive(delivery, act)
        intake.record(delivery.delivery_id, act, predict=False)
    with open_unit_of_work() as uow:
        timeline = uow.timelines.of(KEPT)
    visits = [e.source.record_id for e in timeline.events if e.kind is EventKind.ENCOUNTER]
    assert sorted(visits) == ["v1", "v2"]
    earlier = timeline.cut(clock.now(), received_by=clock.now() - timedelta(seconds=1))
    assert [e.source.record_id for e in earlier.events if e.kind is EventKind.ENCOUNTER] == ["v1"]
