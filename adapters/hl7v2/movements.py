"""ADT (chapter 3): who the patient is, the visit's start and end, what is taken back, who is one person.

The start and the end of a visit are records of their own: a message that says nothing of one (an empty
field) must not take back what an earlier one said.
"""

from datetime import datetime

from adapters.hl7v2.codes import CLASSES, GENDERS, table
from adapters.hl7v2.errors import Reason, SegmentError
from adapters.hl7v2.message import Segment
from adapters.hl7v2.scene import NO_FLAGS, Scene, visit_of
from clinical.services.delivery import Merged
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind, Flag, Phase, Standing
from clinical.timeline.patient import PatientRef
from clinical.timeline.time import ClinicalTime

PATIENT, VISIT, DISCHARGE = "V2Patient", "V2Visit", "V2Discharge"
_DEATH = (Code(CodeSystem.SNOMED_CT, "419099009", "Dead"),)
_BEGIN = frozenset({"A01", "A04"})
_END = "A03"
_CANCEL_BEGIN, _CANCEL_END = "A11", "A13"
_UPDATE = frozenset({"A02", "A06", "A07", "A08", "A12"})
_PERSON = frozenset({"A28", "A31"})
READ = _BEGIN | _UPDATE | _PERSON | {_END, _CANCEL_BEGIN, _CANCEL_END}
"""The triggers that are read here; A40 is read by `merge`."""
_UNREAD_FACTS = ("AL1", "IAM", "DG1", "PR1", "OBX")


def movement(scene: Scene) -> None:
    """The events of one ADT message about one patient; raises SegmentError."""
    pid = scene.message.first("PID")
    patient = scene.patient_in(pid, 3, "PID")
    assert pid is not None
    for name in _UNREAD_FACTS:
        for _ in scene.message.all(name):
            scene.count(f"skipped:{name} in ADT")
    _person(scene, pid, patient)
    trigger = scene.message.header.text(9, 2)
    if trigger not in _PERSON:
        _visit(scene, trigger, patient)
    scene.count(f"record:ADT^{trigger}")


def _person(scene: Scene, pid: Segment, patient: PatientRef) -> None:
    """Sex and birth as one static fact; a death without a date is known from the message."""
    source = scene.source(PATIENT, patient.record_id)
    sex = pid.text(8)
    gender = Code(CodeSystem.GENDER, GENDERS[sex]) if sex in GENDERS else Code(table("0001"), sex)
    if not sex:
        gender = Code(CodeSystem.GENDER, "unknown")
    scene.count_unmapped(gender)
    scene.add(
        EventKind.PATIENT,
        (gender,),
        patient_id=patient.patient_id,
        source=source,
        occurred_at=scene.time(pid, 7),
        recorded_at=None,
        absent_reason="" if sex else "not stated",
        flags=NO_FLAGS if sex else frozenset({Flag.VALUE_ABSENT}),
    )
    died_at = scene.time(pid, 29)
    if died_at is not None or pid.text(30) == "Y":
        scene.add(
            EventKind.DEATH,
            _DEATH,
            patient_id=patient.patient_id,
            source=source,
            occurred_at=died_at,
            recorded_at=scene.written_at,
            part="death",
        )


def _visit(scene: Scene, trigger: str, patient: PatientRef) -> None:
    pv1 = scene.message.first("PV1")
    visit = visit_of(pv1)
    if pv1 is None or not visit:
        raise SegmentError(
            Reason.MISSING_VISIT, "PV1-19: without a visit number nothing can refer to the visit"
        )
    names = _class(scene, pv1)
    start, end = scene.time(pv1, 44), scene.time(pv1, 45)
    if start is not None and end is not None and end.latest < start.earliest:
        raise SegmentError(Reason.VISIT_REVERSED, "PV1-45: the visit ends before it starts")
    happened = _happened(scene)
    if trigger == _CANCEL_BEGIN:
        _begin(scene, patient, visit, names, start, Standing.RETRACTED)
        _end(scene, patient, visit, names, None, Standing.RETRACTED)
        return
    if start is not None or trigger in _BEGIN:
        _begin(scene, patient, visit, names, start or happened)
    else:
        scene.count("undated:PV1-44")
    if trigger == _CANCEL_END:
        _end(scene, patient, visit, names, None, Standing.RETRACTED)
    elif end is not None or trigger == _END:
        _end(scene, patient, visit, names, end or happened)


def _happened(scene: Scene) -> ClinicalTime | None:
    """When what the message tells of happened (EVN-6), which PV1 says better where it says it."""
    evn = scene.message.first("EVN")
    return None if evn is None else scene.time(evn, 6)


def _class(scene: Scene, pv1: Segment) -> tuple[Code, ...]:
    stated = pv1.text(2)
    if not stated:
        raise SegmentError(Reason.MISSING_CODE, "PV1-2: the class of the visit is not stated")
    if stated in CLASSES:
        return (Code(CodeSystem.ACT, CLASSES[stated]), Code(table("0004"), stated))
    unmapped = Code(table("0004"), stated)
    scene.count_unmapped(unmapped)
    return (unmapped,)


def _begin(
    scene: Scene,
    patient: PatientRef,
    visit: str,
    names: tuple[Code, ...],
    at: ClinicalTime | None,
    standing: Standing = Standing.ASSERTED,
) -> None:
    scene.add(
        EventKind.ENCOUNTER,
        names,
        patient_id=patient.patient_id,
        source=scene.source(VISIT, visit),
        occurred_at=at,
        recorded_at=_written(scene),
        part="start",
        phase=Phase.START,
        standing=standing,
        encounter=f"{VISIT}/{visit}",
    )


def _end(
    scene: Scene,
    patient: PatientRef,
    visit: str,
    names: tuple[Code, ...],
    at: ClinicalTime | None,
    standing: Standing = Standing.ASSERTED,
) -> None:
    pv1 = scene.message.first("PV1")
    disposition = pv1.text(36) if pv1 is not None and standing is Standing.ASSERTED else ""
    scene.add(
        EventKind.ENCOUNTER,
        names,
        patient_id=patient.patient_id,
        source=scene.source(DISCHARGE, visit),
        occurred_at=at,
        recorded_at=_written(scene),
        part="end",
        phase=Phase.END,
        standing=standing,
        value=Code(table("0112"), disposition) if disposition else None,
        status="finished" if standing is Standing.ASSERTED else "",
        encounter=f"{VISIT}/{visit}",
    )


def _written(scene: Scene) -> datetime:
    """When the sender wrote down what happened (EVN-2), else when it made the message."""
    evn = scene.message.first("EVN")
    recorded_at = None if evn is None else scene.known(evn, 2)
    return recorded_at or scene.written_at


def merge(scene: Scene) -> None:
    """A40: each MRG-1 is gone, the PID-3 before it is kept; raises SegmentError, then none of it is kept."""
    found: list[tuple[PatientRef, PatientRef]] = []
    pid: Segment | None = None
    for segment in scene.message.segments:
        if segment.name == "PID":
            pid = segment
        elif segment.name == "MRG":
            kept = scene.patient_in(pid, 3, "PID")
            gone = scene.patient_in(segment, 1, "MRG")
            if kept == gone:
                raise SegmentError(Reason.SELF_MERGE, "MRG-1: the patient is merged into itself")
            found.append((gone, kept))
    if not found:
        raise SegmentError(Reason.MISSING_SEGMENT, "MRG: the message does not say who is gone")
    for gone, kept in found:
        scene.reading.merged.append(
            Merged(
                gone=gone.record_id,
                kept=kept.record_id,
                source=scene.source(PATIENT, kept.record_id),
            )
        )
    scene.count("record:ADT^A40")
