"""The kinds of happening that are counted and foretold: which events belong to which family.

Knows events; does not know tensors. The order of `FAMILIES` is that of the model's outputs. The
foretold ones are the risks of `clinical.prediction.outcome`, which also says what surely happened;
here an event is told apart while a timeline is read, in constant time.
"""

from clinical.prediction.outcome import Risk
from clinical.timeline.code import CodeSystem
from clinical.timeline.event import Event, EventKind, Phase, Standing

FORETOLD = (Risk.EMERGENCY, Risk.INPATIENT, Risk.NEW_CONDITION, Risk.DEATH)
ENCOUNTER = "encounter"
MEDICATION = "medication"
FAMILIES: tuple[str, ...] = (*FORETOLD, ENCOUNTER, MEDICATION)

_EMERGENCY_CLASSES = frozenset({"EMER"})
_INPATIENT_CLASSES = frozenset({"IMP", "ACUTE", "NONAC"})


def families_of(event: Event, known_conditions: set[str]) -> tuple[str, ...]:
    """The families that an event belongs to; `known_conditions` (keys) is read and added to.

    An event that ends something, or that the source does not assert, belongs to none. A diagnosis
    is new when none of its codes was asserted before in the timeline.
    """
    if event.standing is not Standing.ASSERTED:
        return ()
    if event.kind is EventKind.CONDITION:
        keys = {event.code.key, *(code.key for code in event.other_codes)}
        is_new = event.phase is not Phase.END and not keys & known_conditions
        known_conditions |= keys
        return (Risk.NEW_CONDITION,) if is_new else ()
    if event.phase is Phase.END:
        return ()
    match event.kind:
        case EventKind.ENCOUNTER:
            return _encounter_families(event)
        case EventKind.DEATH:
            return (Risk.DEATH,)
        case EventKind.MEDICATION_REQUEST:
            return (MEDICATION,)
        case _:
            return ()


def _encounter_families(event: Event) -> tuple[str, ...]:
    codes = (event.code, *event.other_codes)
    classes = {code.value for code in codes if code.system == CodeSystem.ACT}
    found = [ENCOUNTER]
    if classes & _EMERGENCY_CLASSES:
        found.append(Risk.EMERGENCY)
    if classes & _INPATIENT_CLASSES:
        found.append(Risk.INPATIENT)
    return tuple(found)
