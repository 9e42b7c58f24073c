"""The envelope of a Nabla Connect callback, and the data of its two types.

Unknown fields and categories are never fatal. The transcript is not read, in either of the two shapes
that are documented, and what a section says only to send it to Core where a site wants that.
"""

from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from adapters.nabla.errors import MalformedCallbackError, UnknownCallbackError

NOTE_EXPORT = "NOTE_EXPORT"
PATIENT_INSTRUCTIONS_EXPORT = "PATIENT_INSTRUCTIONS_EXPORT"
CALLBACK_TYPES = frozenset({NOTE_EXPORT, PATIENT_INSTRUCTIONS_EXPORT})
"""The types that are taken; any other is answered 400."""

_MAX_UUID_LENGTH = 128


class Callback(Struct, frozen=True):
    """The envelope: which callback, of what type, and its data undecoded."""

    request_uuid: str
    type: str
    data: Raw = Raw()


class Section(Struct):
    """A section of the note. Several may share a category; None is one of its own."""

    category: str | None = None
    title: Any = None
    content: Any = None


class Note(Struct):
    """The note."""

    sections: list[Section] = []
    title: Any = None


class NoteExport(Struct):
    """What a clinician exported from Nabla into the EHR."""

    external_patient_id: str
    external_encounter_id: str
    note: Note
    visit_diagnoses: list[Any] | None = None


class Instructions(Struct):
    """What the patient was told to do: a text as documented, or several as the demo server has them."""

    instructions: str | list[str]


class InstructionsExport(Struct):
    """Instructions for a patient that a clinician exported from Nabla into the EHR."""

    external_patient_id: str
    external_encounter_id: str
    patient_instructions: Instructions


def parse_callback(body: bytes) -> Callback:
    """The envelope of a callback.

    Raises:
        MalformedCallbackError: it is none, or its `request_uuid` is empty or no plain short text.
    """
    try:
        callback = _CALLBACK.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedCallbackError("the body is no callback envelope") from error
    uuid = callback.request_uuid
    if not uuid or len(uuid) > _MAX_UUID_LENGTH or not uuid.isprintable():
        raise MalformedCallbackError("request_uuid: 1 to 128 printable characters are required")
    return callback


def answer(callback: Callback) -> bytes:
    """The body of the 200 that ends a delivery: exactly `{"request_uuid": <same>}`."""
    return msgspec.json.encode({"request_uuid": callback.request_uuid})


def note_export(callback: Callback) -> NoteExport:
    """The data of a `NOTE_EXPORT`.

    Raises:
        UnknownCallbackError: it is of another type.
        MalformedCallbackError: the data lack the patient, the encounter or the note.
    """
    return _data(callback, NOTE_EXPORT, _NOTE_EXPORT)


def instructions_export(callback: Callback) -> InstructionsExport:
    """The data of a `PATIENT_INSTRUCTIONS_EXPORT`; raises as `note_export` does."""
    return _data(callback, PATIENT_INSTRUCTIONS_EXPORT, _INSTRUCTIONS_EXPORT)


_Data = TypeVar("_Data", NoteExport, InstructionsExport)


def _data(callback: Callback, wanted: str, decoder: "msgspec.json.Decoder[_Data]") -> _Data:
    if callback.type != wanted:
        raise UnknownCallbackError("type: no callback of this type is taken")
    try:
        export = decoder.decode(callback.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedCallbackError(f"data: not the data of a {wanted}") from error
    for identity in (export.external_patient_id, export.external_encounter_id):
        if not identity or not identity.isprintable():
            raise MalformedCallbackError("data: the patient or encounter is empty or no plain text")
    return export


_CALLBACK = msgspec.json.Decoder(Callback)
_NOTE_EXPORT = msgspec.json.Decoder(NoteExport)
_INSTRUCTIONS_EXPORT = msgspec.json.Decoder(InstructionsExport)
