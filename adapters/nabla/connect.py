"""The envelope of a Nabla Connect callback, and the data of a `NOTE_EXPORT`.

Unknown fields and categories are never fatal; what a section says and the transcript are not read.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.nabla.errors import MalformedCallbackError, UnknownCallbackError

NOTE_EXPORT = "NOTE_EXPORT"
CALLBACK_TYPES = frozenset({NOTE_EXPORT})
"""The types that are taken; any other is answered 400, `PATIENT_INSTRUCTIONS_EXPORT` for now too."""

_MAX_UUID_LENGTH = 128


class Callback(Struct, frozen=True):
    """The envelope: which callback, of what type, and its data undecoded."""

    request_uuid: str
    type: str
    data: Raw = Raw()


class Section(Struct):
    """A section of the note, of which only the category is read; several may share one."""

    category: str | None = None


class Note(Struct):
    """The note."""

    sections: list[Section] = []


class NoteExport(Struct):
    """What a clinician exported from Nabla into the EHR."""

    external_patient_id: str
    external_encounter_id: str
    note: Note
    visit_diagnoses: list[Any] | None = None


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
    if callback.type not in CALLBACK_TYPES:
        raise UnknownCallbackError("type: no callback of this type is taken")
    try:
        export = _NOTE_EXPORT.decode(callback.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedCallbackError("data: not the data of a NOTE_EXPORT") from error
    for identity in (export.external_patient_id, export.external_encounter_id):
        if not identity or not identity.isprintable():
            raise MalformedCallbackError("data: the patient or encounter is empty or no plain text")
    return export


_CALLBACK = msgspec.json.Decoder(Callback)
_NOTE_EXPORT = msgspec.json.Decoder(NoteExport)
