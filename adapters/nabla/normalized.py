"""Our envelope around a `generate-normalized-data` response, and the shapes of its items.

The response has no patient, no encounter and no time, so it is delivered as
`{"external_patient_id", "external_encounter_id", "encounter_time": date or instant or null,
"note_exported_at": instant, "response": {"conditions", "family_history", "observations"}}`.
Fields moved between versions of the API; every place is tolerated, and unknown ones are ignored.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from adapters.nabla.errors import MalformedItemError, MalformedResponseError
from clinical.timeline.time import ClinicalTime, ImpossibleTimeError


class Response(Struct):
    """Each item stays undecoded until its turn: a bad one must not spoil the others."""

    conditions: list[Raw] | None = None
    family_history: list[Raw] | None = None
    observations: list[Raw] | None = None


class Envelope(Struct):
    """The response with whose it is and when it was said."""

    external_patient_id: str
    external_encounter_id: str
    note_exported_at: datetime
    response: Response
    encounter_time: str | None = None


class Condition(Struct):
    """A condition; `category` and a string `coding` are not in the specification but were seen."""

    coding: Any = None
    alternative_coding: list[Any] | None = None
    clinical_status: str = ""
    categories: list[str] | None = None
    category: str | None = None


class Relative(Struct):
    """What a relative had."""

    relationship: str
    conditions: list[Condition] = []


class Amount(Struct):
    """A value; `unit` and `code` may both be missing. `system` is UCUM under Nabla's own address."""

    value: Decimal
    system: Any = None
    unit: str | None = None
    code: str | None = None


class AmountRange(Struct):
    """From low to high."""

    low: Amount | None = None
    high: Amount | None = None


class Observation(Struct):
    """A measurement said in the note."""

    coding: Any = None
    value_quantity: Amount | None = None
    value_range: AmountRange | None = None


def parse_envelope(body: bytes) -> Envelope:
    """The envelope.

    Raises:
        MalformedResponseError: an element is missing or wrong, or the export time has no zone.
    """
    try:
        envelope = _ENVELOPE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedResponseError("the body is not the envelope of a response") from error
    for identity in (envelope.external_patient_id, envelope.external_encounter_id):
        if not identity or not identity.isprintable():
            raise MalformedResponseError("the patient or the encounter is empty or no plain text")
    if envelope.note_exported_at.tzinfo is None:
        raise MalformedResponseError("note_exported_at: an instant needs its zone")
    response = envelope.response
    if response.conditions is response.family_history is response.observations is None:
        raise MalformedResponseError("response: none of its three lists is there")
    return envelope


def encounter_time(envelope: Envelope) -> ClinicalTime | None:
    """When the encounter was, if it was said; raises MalformedResponseError for no time at all."""
    text = envelope.encounter_time
    if text is None:
        return None
    try:
        if len(text) == len("2024-02-03"):
            day = datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007 - a day has no zone
            return ClinicalTime.day(day.year, day.month, day.day)
        return ClinicalTime.instant(datetime.fromisoformat(text), text)
    except (ValueError, OverflowError, ImpossibleTimeError) as error:
        raise MalformedResponseError("encounter_time: neither a day nor an instant") from error


def condition(raw: Raw) -> Condition:
    """One condition; raises MalformedItemError."""
    return _item(_CONDITION, raw)


def relative(raw: Raw) -> Relative:
    """One entry of the family history; raises MalformedItemError."""
    return _item(_RELATIVE, raw)


def observation(raw: Raw) -> Observation:
    """One observation; raises MalformedItemError."""
    return _item(_OBSERVATION, raw)


_Item = TypeVar("_Item")


def _item(decoder: "msgspec.json.Decoder[_Item]", raw: Raw) -> _Item:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedItemError("the item does not have the shape of its list") from error


_ENVELOPE = msgspec.json.Decoder(Envelope)
_CONDITION = msgspec.json.Decoder(Condition)
_RELATIVE = msgspec.json.Decoder(Relative)
_OBSERVATION = msgspec.json.Decoder(Observation)
