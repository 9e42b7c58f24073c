"""RDE (orders), RAS (what was given) and VXU (vaccines): chapters 4A and 4.

An order is named by its placer's number, what was given by its order's number and RXA-2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from adapters.hl7v2.errors import Reason, SegmentError
from adapters.hl7v2.message import Segment
from adapters.hl7v2.movements import VISIT
from adapters.hl7v2.scene import NO_FLAGS, Scene, order_numbers, visit_of, word
from adapters.hl7v2.values import has_unknown_unit, quantity
from clinical.timeline.event import EventKind, Flag, Phase, Standing
from clinical.timeline.patient import PatientRef
from clinical.timeline.quantity import Quantity

ORDER, ADMINISTRATION = "V2PharmacyOrder", "V2Administration"
_PLACER, _FILLER = ("placer", 2), ("filler", 3)
# Order control (table 0119): what makes an order, and what withdraws it. What stops one, holds it or
# only answers, leaves it an order: nothing of that is a newer version of it.
_ORDERS = frozenset({"NW", "SN", "NA", "OK", "RE", "RO", "RP", "XO", "XX", "XR", "CH", "PA"})
_WITHDRAWS = frozenset({"CA", "OC", "CR"})
_GIVEN = {"": Standing.ASSERTED, "CP": Standing.ASSERTED, "PA": Standing.ASSERTED}
_NOT_GIVEN = {"RE": Standing.REFUTED, "NA": Standing.REFUTED}
COMPLETION = _GIVEN | _NOT_GIVEN
"""Completion status (table 0322): refused and not administered are facts of not."""
_DELETES = "D"
_UNKNOWN_AMOUNT = "999"
_NO_VACCINE = "998"  # CVX: none was given


@dataclass(slots=True, kw_only=True)
class _Place:
    patient: PatientRef
    visit: str = ""
    common: Segment | None = None

    @property
    def encounter(self) -> str:
        return f"{VISIT}/{self.visit}" if self.visit else ""

    def number(self, *sides: tuple[str, int]) -> str:
        """What the order is called; raises SegmentError where nobody named it."""
        found = next(order_numbers((self.common,), sides), "")
        if not found:
            raise SegmentError(
                Reason.MISSING_ORDER, "ORC-2, ORC-3: without an order number it has no name"
            )
        return found


def orders(scene: Scene) -> None:
    """RDE: each RXE an order; raises SegmentError."""
    _walk(scene, "RXE", _order)


def administrations(scene: Scene) -> None:
    """RAS: each RXA something given; raises SegmentError."""
    _walk(scene, "RXA", partial(_given, kind=EventKind.MEDICATION_ADMINISTRATION))


def immunizations(scene: Scene) -> None:
    """VXU: each RXA a vaccine; raises SegmentError."""
    for _ in scene.message.all("OBX"):
        scene.count("skipped:OBX in VXU")
    _walk(scene, "RXA", partial(_given, kind=EventKind.IMMUNIZATION))


def _walk(scene: Scene, name: str, understand: Callable[[Scene, Segment, _Place], None]) -> None:
    patient = scene.patient_in(scene.message.first("PID"), 3, "PID")
    if len(scene.message.all("PID")) > 1:
        raise SegmentError(Reason.AMBIGUOUS_PATIENT, "PID: several patients in one such message")
    place = _Place(patient=patient, visit=visit_of(scene.message.first("PV1")))
    for segment in scene.message.segments:
        if segment.name == "ORC":
            place.common = segment
        elif segment.name == name:
            try:
                understand(scene, segment, place)
            except SegmentError as error:
                scene.set_aside(segment.position, error)
    scene.count(f"record:{scene.message.kind}")


def _order(scene: Scene, rxe: Segment, place: _Place) -> None:
    control = place.common.text(1) if place.common is not None else ""
    if control not in _ORDERS | _WITHDRAWS:
        scene.count(f"skipped:ORC-1 {word(control)}")
        return
    is_withdrawn = control in _WITHDRAWS
    number = place.number(_PLACER, _FILLER)
    authored_at = scene.time(rxe, 32)
    if authored_at is None and place.common is not None and not is_withdrawn:
        authored_at = scene.time(place.common, 9)
    amount = None if is_withdrawn else _amount(scene, rxe, 3, 5)
    scene.add(
        EventKind.MEDICATION_REQUEST,
        scene.names(rxe.first(2), "RXE-2"),
        patient_id=place.patient.patient_id,
        source=scene.source(ORDER, number),
        occurred_at=authored_at,
        # Known when authored, as every order is; a withdrawal from when it was told.
        recorded_at=scene.written_at if is_withdrawn or authored_at is None else None,
        standing=Standing.RETRACTED if is_withdrawn else Standing.ASSERTED,
        value=amount,
        status=control,
        encounter=place.encounter,
        flags=_flags(amount),
    )


def _given(scene: Scene, rxa: Segment, place: _Place, *, kind: EventKind) -> None:
    names = scene.names(rxa.first(5), "RXA-5")
    if kind is EventKind.IMMUNIZATION and names[0].value == _NO_VACCINE:
        scene.count("skipped:no vaccine given")
        return
    status = rxa.text(20)
    if status not in COMPLETION:
        raise SegmentError(Reason.UNKNOWN_STATUS, "RXA-20: not a status of table 0322")
    is_deleted = rxa.text(21) == _DELETES
    number = f"{place.number(_FILLER, _PLACER)}:{quote(rxa.text(2), safe='')}"
    start, end = scene.time(rxa, 3), scene.time(rxa, 4)
    if start is not None and end is not None and end.latest < start.earliest:
        raise SegmentError(Reason.VISIT_REVERSED, "RXA-4: it ends before it starts")
    amount = None if is_deleted or status in _NOT_GIVEN else _amount(scene, rxa, 6, 7)
    lasts = kind is EventKind.MEDICATION_ADMINISTRATION and end is not None and end != start
    phases = (
        [("start", Phase.START, start, None), ("end", Phase.END, end, amount)]
        if lasts
        else [("", Phase.POINT, start or end, amount)]
    )
    for part, phase, at, value in phases:
        scene.add(
            kind,
            names,
            patient_id=place.patient.patient_id,
            source=scene.source(ADMINISTRATION, number),
            occurred_at=at,
            recorded_at=scene.known(rxa, 22) or scene.written_at,
            part=part,
            phase=phase,
            standing=Standing.RETRACTED if is_deleted else COMPLETION[status],
            value=value,
            status=status,
            encounter=place.encounter,
            flags=_flags(value),
        )


def _amount(scene: Scene, segment: Segment, number: int, unit: int) -> Quantity | None:
    stated = segment.text(number)
    if not stated or (stated == _UNKNOWN_AMOUNT and not segment.text(unit)):
        return None
    return quantity(stated, segment.first(unit), scene, f"{segment.name}-{number}")


def _flags(amount: Quantity | None) -> frozenset[Flag]:
    return frozenset({Flag.UNKNOWN_UNIT}) if has_unknown_unit(amount) else NO_FLAGS
