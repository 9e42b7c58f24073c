"""The value of an observation (OBX-2, 5, 6), every digit as sent, the unit in UCUM or kept as text."""

import re
from decimal import Decimal, InvalidOperation

from adapters.hl7v2.codes import codes_of
from adapters.hl7v2.errors import Reason, SegmentError
from adapters.hl7v2.message import Repetition, Segment
from adapters.hl7v2.scene import Scene
from adapters.units import ucum_code
from clinical.timeline.event import EventValue
from clinical.timeline.quantity import Comparator, Quantity, QuantityRange

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
_MAX_DIGITS, _MAX_EXPONENT = 40, 30
_COMPARATORS = {each.value: each for each in Comparator} | {"=": None, "": None}

NUMERIC = frozenset({"NM", "SN"})
CODED = frozenset({"CE", "CWE", "CNE", "CF", "IS", "ID"})
TEXTS = frozenset({"ST", "TX", "FT", "TM"})
TIMES = frozenset({"DT", "TS", "DTM"})
READ = NUMERIC | CODED | TEXTS | TIMES
"""The types of value that are read; pictures, documents, names and addresses are not."""


def value_of(stated: Repetition, obx: Segment, scene: Scene) -> EventValue:
    """One repetition of OBX-5; None where it says nothing.

    Raises:
        SegmentError: it is not of the type that OBX-2 says.
    """
    kind = obx.text(2)
    if kind == "NM":
        return quantity(stated.text(1), obx.first(6), scene) if stated.text(1) else None
    if kind == "SN":
        return _structured(stated, obx, scene)
    if kind in CODED:
        found = codes_of(stated)
        for one in found:
            scene.count_unmapped(one)
        return found[0] if found else None
    if kind in TIMES:
        time = scene.text_time(stated.text(1), "OBX-5")
        return time.text if time else None
    # A text may hold separators that its sender forgot to escape: then no component is the text.
    return "^".join(stated.text(n) for n in range(1, stated.num_components + 1)) or None


def _structured(stated: Repetition, obx: Segment, scene: Scene) -> EventValue:
    """SN (section 2A.3.64): comparator, number, separator, number."""
    sign, first, separator, second = (stated.text(n) for n in range(1, 5))
    if not first:
        return None
    if separator == "-" and second:
        unit = obx.first(6)
        return QuantityRange(quantity(first, unit, scene), quantity(second, unit, scene))
    if separator or second:
        return f"{sign}{first}{separator}{second}"  # a titre, a ratio, `2+`: no number
    if sign == "<>" or sign not in _COMPARATORS:
        raise SegmentError(Reason.MALFORMED_VALUE, "OBX-5.1: no comparator that can be compared")
    return quantity(first, obx.first(6), scene, comparator=_COMPARATORS[sign])


def quantity(
    text: str,
    unit: Repetition,
    scene: Scene,
    path: str = "OBX-5",
    comparator: Comparator | None = None,
) -> Quantity:
    """An amount with the unit that an element states; one that is not UCUM is counted.

    Raises:
        SegmentError: it is no number, or one out of range.
    """
    try:
        value = Decimal(text) if _NUMBER.fullmatch(text) else None
    except InvalidOperation:
        value = None
    if value is None or len(text) > _MAX_DIGITS or abs(value.adjusted()) > _MAX_EXPONENT:
        raise SegmentError(Reason.MALFORMED_VALUE, f"{path}: no number, or one out of range")
    code, words = unit.text(1), unit.text(2)
    # UCUM has plain numbers among its units; here they are numbers of the sender's own list.
    is_listed = code.isdigit() and code != "1"
    known = ucum_code(code) if code and not is_listed else None
    known = known or (ucum_code(words) if words else None)
    shown = code or words
    if known is None:
        scene.count(f"unmapped_unit:{shown or '(none)'}")
    return Quantity(value, known, shown, comparator)


def has_unknown_unit(value: EventValue) -> bool:
    """Whether an amount in it has no UCUM unit."""
    match value:
        case Quantity():
            return value.unit is None
        case QuantityRange():
            return any(end is not None and end.unit is None for end in (value.low, value.high))
        case _:
            return False
