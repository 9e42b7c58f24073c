"""ORU^R01 (chapter 7): each OBX an observation, named by its order, its code and its sub-id.

A later message about the same result (OBX-11 F after P, C) is a newer version of the record; D, W and X
take it back.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

from adapters.hl7v2.errors import Reason, SegmentError
from adapters.hl7v2.message import Segment
from adapters.hl7v2.movements import VISIT
from adapters.hl7v2.scene import NO_FLAGS, Scene, order_numbers, visit_of, word
from adapters.hl7v2.values import READ, has_unknown_unit, value_of
from clinical.timeline.event import EventKind, EventValue, Flag, Standing
from clinical.timeline.patient import PatientRef
from clinical.timeline.time import ClinicalTime

RESULT = "V2Result"
STANDING = {
    "F": Standing.ASSERTED,
    "C": Standing.ASSERTED,
    "A": Standing.ASSERTED,
    "B": Standing.ASSERTED,
    "U": Standing.ASSERTED,
    "V": Standing.ASSERTED,
    "P": Standing.TENTATIVE,
    "R": Standing.TENTATIVE,
    "S": Standing.TENTATIVE,
    "D": Standing.RETRACTED,
    "W": Standing.RETRACTED,
    "X": Standing.RETRACTED,
}
"""Observation result status (table 0085)."""
_REVISES = frozenset("CABDWX")
_WITHOUT_RESULT = frozenset("ION")
_FLAGS = {
    "A": {Flag.ABNORMAL},
    "AA": {Flag.ABNORMAL, Flag.CRITICAL},
    "H": {Flag.HIGH},
    "HH": {Flag.HIGH, Flag.CRITICAL},
    "L": {Flag.LOW},
    "LL": {Flag.LOW, Flag.CRITICAL},
}
"""Abnormal flags (table 0078)."""
_LABORATORY = frozenset(
    {
        "LAB",
        "CH",
        "HM",
        "MB",
        "MCB",
        "SR",
        "TX",
        "VR",
        "IMM",
        "BLB",
        "CG",
        "CP",
        "HLA",
        "MYC",
        "SP",
        "CUS",
    }
)
"""Diagnostic service sections (table 0074) that are laboratories."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What the OBX of one OBR have in common; `number` is empty where neither side named the order."""

    number: str = ""
    category: str = ""
    status: str = ""
    occurred_at: ClinicalTime | None = None
    reported_at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class _Place:
    """Where in the message we are."""

    patient: PatientRef | None = None
    stranger: SegmentError | None = None  # why it is not known whose results follow
    disorder: SegmentError | None = None  # why the order above them is not understood
    visit: str = ""
    common: Segment | None = None  # the ORC before an OBR
    order: _Order | None = None
    is_of_specimen: bool = False
    seen: Counter[str] = field(default_factory=Counter)


def results(scene: Scene) -> None:
    """Every OBX of the message, of whichever patient; raises SegmentError where nobody is named."""
    if scene.message.first("PID") is None:
        raise SegmentError(Reason.MISSING_SEGMENT, "PID: the message names no patient")
    place = _Place()
    for segment in scene.message.segments:
        try:
            _step(scene, segment, place)
        except SegmentError as error:
            scene.set_aside(segment.position, error)
    scene.count("record:ORU^R01")


def _step(scene: Scene, segment: Segment, place: _Place) -> None:
    match segment.name:
        case "PID":
            _begin_patient(scene, segment, place)
        case "PV1":
            place.visit = visit_of(segment)
        case "ORC":
            place.common, place.is_of_specimen = segment, False
        case "OBR":
            _begin_order(scene, segment, place)
        case "SPM":
            place.is_of_specimen = True
        case "OBX" if place.is_of_specimen:
            scene.count("skipped:OBX of SPM")
        case "OBX":
            _observation(scene, segment, place)
        case _:
            pass


def _begin_patient(scene: Scene, pid: Segment, place: _Place) -> None:
    place.patient, place.visit, place.order, place.common = None, "", None, None
    place.is_of_specimen, place.stranger, place.disorder = False, None, None
    try:
        place.patient = scene.patient_in(pid, 3, "PID")
    except SegmentError as error:
        place.stranger = error
        raise


def _begin_order(scene: Scene, obr: Segment, place: _Place) -> None:
    place.order, place.is_of_specimen, place.disorder = None, False, None
    orc, place.common = place.common, None
    number = next(order_numbers((obr, orc), (("filler", 3), ("placer", 2))), "")
    section = obr.text(24)
    try:
        place.order = _Order(
            number=number,
            category="laboratory" if section in _LABORATORY else section.lower(),
            status=obr.text(25),
            occurred_at=scene.time(obr, 7),
            reported_at=scene.known(obr, 22),
        )
    except SegmentError as error:
        place.disorder = error
        raise


def _observation(scene: Scene, obx: Segment, place: _Place) -> None:
    if problem := place.stranger or place.disorder:
        raise SegmentError(problem.reason, f"OBX: what stands above it: {problem.detail}")
    if place.order is None or place.patient is None or not place.order.number:
        raise SegmentError(
            Reason.MISSING_ORDER, "OBR-2, OBR-3: without an order number the result has no name"
        )
    order, patient = place.order, place.patient
    status = obx.text(11) or order.status
    if status in _WITHOUT_RESULT:
        scene.count(f"skipped:OBX-11 {status}")
        return
    if status and status not in STANDING:
        raise SegmentError(Reason.UNKNOWN_STATUS, "OBX-11: not a status of table 0085 that is read")
    names = scene.names(obx.first(3), "OBX-3")
    record_id = ":".join(
        (order.number, quote(obx.text(3) or obx.text(3, 2), safe=""), quote(obx.text(4), safe=""))
    )
    index = place.seen[record_id]
    source = scene.source(RESULT, record_id)
    # What a sender does not call final is not taken for final.
    standing = STANDING.get(status, Standing.TENTATIVE)
    values = [None] if standing is Standing.RETRACTED else _values(scene, obx, status)
    occurred_at = scene.time(obx, 14) or order.occurred_at
    recorded_at = order.reported_at or scene.written_at
    if status in _REVISES:
        recorded_at = max(recorded_at, scene.written_at)
    flags = _flags(obx)
    place.seen[record_id] += 1
    for number, value in enumerate(values):
        is_absent = value is None and standing is not Standing.RETRACTED
        scene.add(
            EventKind.OBSERVATION,
            names,
            patient_id=patient.patient_id,
            source=source,
            occurred_at=occurred_at,
            recorded_at=recorded_at,
            part=_part(index, number),
            standing=standing,
            value=value,
            status=status,
            category=order.category,
            encounter=f"{VISIT}/{place.visit}" if place.visit else "",
            absent_reason=("null" if obx.first(5).is_null else "not stated") if is_absent else "",
            flags=flags
            | ({Flag.VALUE_ABSENT} if is_absent else NO_FLAGS)
            | ({Flag.UNKNOWN_UNIT} if has_unknown_unit(value) else NO_FLAGS),
        )


def _part(index: int, number: int) -> str:
    """Of several OBX with one name in a message, and of several values in one OBX."""
    return "" if not index and not number else f"{index}/{number}"


def _values(scene: Scene, obx: Segment, status: str) -> list[EventValue]:
    stated = obx.repetitions(5)
    if status == "U" and not stated:
        raise SegmentError(
            Reason.STATUS_WITHOUT_RESULT, "OBX-11: final, but the result is not sent again"
        )
    if stated and obx.text(2) not in READ:
        scene.count(f"skipped:OBX-2 {word(obx.text(2))}")
        return []
    return [value_of(each, obx, scene) for each in stated] or [None]


def _flags(obx: Segment) -> frozenset[Flag]:
    found: set[Flag] = set()
    for each in obx.repetitions(8):
        found |= _FLAGS.get(each.text(1), set())
    return frozenset(found)
