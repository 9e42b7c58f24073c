"""From Nabla's deliveries to events, each marked as derived from a note by AI.

A note that is exported again is a new version of the same record: the encounter names it. Free text
(sections, transcript, comments) never becomes part of an event; it stays in the stored bytes.
"""

from collections.abc import Callable

from msgspec import Raw

from adapters.nabla import connect, normalized, words
from adapters.nabla.errors import MalformedItemError
from adapters.nabla.note import Note, whole
from clinical.errors import RejectedError
from clinical.services.delivery import Delivery, Reading
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import (
    EventKind,
    EventValue,
    Phase,
)
from clinical.timeline.quantity import Quantity, QuantityRange

_MAX_EXPONENT = 30
_NOTE = Code(CodeSystem.LOINC, "34109-9", "Note")
_INSTRUCTIONS = Code(CodeSystem.LOINC, "69730-0", "Instructions")


class ConnectReader:
    """Door.NABLA_CONNECT: a note is a document and the diagnoses of the visit, instructions a document.

    Nothing in it says when: its events are known from when they were received.
    """

    def read(self, delivery: Delivery) -> Reading:
        """Understand one callback; what cannot be is quarantined."""
        reading, record_type = Reading(), "NablaNote"
        try:
            callback = connect.parse_callback(delivery.body)
            if callback.type == connect.PATIENT_INSTRUCTIONS_EXPORT:
                record_type = "NablaInstructions"
                return self._instructions(delivery, callback, reading)
            return self._note(delivery, callback, reading)
        except RejectedError as error:
            reading.quarantined.append(whole(delivery, record_type, error))
            return reading

    def _instructions(
        self, delivery: Delivery, callback: connect.Callback, reading: Reading
    ) -> Reading:
        export = connect.instructions_export(callback)
        document = Note(
            delivery=delivery,
            reading=reading,
            record_type="NablaInstructions",
            patient=export.external_patient_id,
            encounter=export.external_encounter_id,
            version=callback.request_uuid,
        )
        document.add(
            EventKind.DOCUMENT, (_INSTRUCTIONS,), part="instructions", category="instructions"
        )
        reading.counts["record:NablaInstructions"] += 1
        return reading

    def _note(self, delivery: Delivery, callback: connect.Callback, reading: Reading) -> Reading:
        export = connect.note_export(callback)
        note = Note(
            delivery=delivery,
            reading=reading,
            record_type="NablaNote",
            patient=export.external_patient_id,
            encounter=export.external_encounter_id,
            version=callback.request_uuid,
        )
        categories = dict.fromkeys(_word(each.category) for each in export.note.sections)
        note.add(EventKind.DOCUMENT, (_NOTE,), part="note", category=",".join(categories))
        for index, diagnosis in enumerate(export.visit_diagnoses or ()):
            with_position = f"visit_diagnoses[{index}]"
            try:
                names = words.codes(diagnosis, "coding")
            except MalformedItemError as error:
                note.quarantine(with_position, b"", error)
                continue
            note.add(
                EventKind.CONDITION,
                names,
                part=f"diagnosis/{index}",
                category="encounter-diagnosis",
            )
        reading.counts["record:NablaNote"] += 1
        return reading


class NormalizedReader:
    """Door.NABLA_NORMALIZED: conditions, family history and observations of one encounter.

    They happened at the encounter and are known from when the note was exported.
    """

    def read(self, delivery: Delivery) -> Reading:
        """Understand one response in its envelope; what cannot be is quarantined."""
        reading = Reading()
        try:
            envelope = normalized.parse_envelope(delivery.body)
            occurred_at = normalized.encounter_time(envelope)
        except RejectedError as error:
            reading.quarantined.append(whole(delivery, "NablaNormalized", error))
            return reading
        note = Note(
            delivery=delivery,
            reading=reading,
            record_type="NablaNormalized",
            patient=envelope.external_patient_id,
            encounter=envelope.external_encounter_id,
            version="",
            occurred_at=occurred_at,
            recorded_at=envelope.note_exported_at,
        )
        response = envelope.response
        _each("conditions", response.conditions, note, _condition)
        _each("family_history", response.family_history, note, _relative)
        _each("observations", response.observations, note, _observation)
        reading.counts["record:NablaNormalized"] += 1
        return reading


def _each(
    name: str, items: list[Raw] | None, note: Note, understand: Callable[[Raw, str, Note], None]
) -> None:
    for index, raw in enumerate(items or ()):
        try:
            understand(raw, f"{name}/{index}", note)
        except MalformedItemError as error:
            note.quarantine(f"{name}[{index}]", bytes(raw), error)


def _word(category: str | None) -> str:
    return category if category is not None and category.isprintable() else "null"


def _condition(raw: Raw, part: str, note: Note) -> None:
    """A resolved condition ended at some time before: an end without a date."""
    stated = normalized.condition(raw)
    categories = stated.categories or ([stated.category] if stated.category else [])
    note.add(
        EventKind.CONDITION,
        _names(stated),
        part=part,
        phase=Phase.END if stated.clinical_status.upper() == "RESOLVED" else Phase.POINT,
        status=stated.clinical_status.lower(),
        category=",".join(each.lower().replace("_", "-") for each in categories),
    )


def _relative(raw: Raw, part: str, note: Note) -> None:
    """The relation is the code, what the relative had the value."""
    stated = normalized.relative(raw)
    relation = words.RELATIVES.get(stated.relationship.upper(), words.RELATIVES["OTHER"])
    for index, condition in enumerate(stated.conditions):
        names = _names(condition)
        note.add(
            EventKind.OBSERVATION,
            (relation,),
            part=f"{part}/{index}",
            value=names[0],
            status=condition.clinical_status.lower(),
            category="family-history",
        )


def _observation(raw: Raw, part: str, note: Note) -> None:
    stated = normalized.observation(raw)
    low_to_high = stated.value_range
    value: EventValue = None
    if stated.value_quantity is not None:
        value = _quantity(stated.value_quantity)
    elif low_to_high is not None:
        low = _quantity(low_to_high.low) if low_to_high.low else None
        high = _quantity(low_to_high.high) if low_to_high.high else None
        value = QuantityRange(low, high)
    note.add(EventKind.OBSERVATION, words.codes(stated.coding, "coding"), part=part, value=value)


def _names(condition: normalized.Condition) -> tuple[Code, ...]:
    names = words.codes(condition.coding, "coding")
    if condition.alternative_coding:
        names += words.codes(condition.alternative_coding, "alternative_coding")
    return names


def _quantity(amount: normalized.Amount) -> Quantity:
    text = amount.unit or amount.code or ""
    if not amount.value.is_finite() or abs(amount.value.adjusted()) > _MAX_EXPONENT:
        raise MalformedItemError("value: the number is out of range")
    if not text.isprintable():
        raise MalformedItemError("unit: no plain text")
    # A code of another system is no UCUM code, whatever it looks like.
    code = amount.code if words.is_ucum(amount.system) else None
    unit = words.ucum_unit(amount.unit, code)
    return Quantity(amount.value, None if amount.code and not code else unit, text)
