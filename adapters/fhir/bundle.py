"""A body cut into its records: each a slice of the very bytes that were received, none of them decoded.

Knows Bundles, single resources and lines. Does not know what the records say.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.fhir.datatypes import UNREAD
from adapters.fhir.errors import DeliveryError, Reason

NDJSON = "application/fhir+ndjson"


class Entry(Struct, gc=False):
    """One entry. Wrong types are kept as they are: a bad entry must not spoil its neighbours."""

    fullUrl: Any = None  # noqa: N815 - FHIR's spelling
    resource: Raw = UNREAD
    request: Any = None


class _Bundle(Struct, gc=False):
    resourceType: str = ""  # noqa: N815
    entry: list[Entry] | None = None


class _TornBundle(Struct, gc=False):
    """A Bundle of which some entry is not even an object."""

    resourceType: str = ""  # noqa: N815
    entry: list[Raw] | None = None


class Slice(Struct, gc=False):
    """A record as received, where it stood, and the fullUrl and method that came with it."""

    raw: bytes
    position: str
    full_url: str = ""
    method: str = ""


def slices(text: bytes) -> list[Slice]:
    """The records of a Bundle in their order, or the one record that the text is.

    Raises:
        DeliveryError: the text is not JSON, not an object, has no resourceType, or a broken entry list.
    """
    bundle = _decoded(text)
    if not bundle.resourceType:
        raise DeliveryError(Reason.NO_RESOURCE_TYPE, "the body does not say what it is")
    if bundle.resourceType != "Bundle":
        return [Slice(text.strip(), "resource")]
    entries: Sequence[Entry | Raw] = bundle.entry or ()
    return [_slice(entry, index) for index, entry in enumerate(entries)]


def lines(text: bytes, first_line: int) -> list[Slice]:
    """The records of NDJSON, blank lines left out; `first_line` is the number of the first."""
    return [
        Slice(line, f"line {number}")
        for number, full in enumerate(text.split(b"\n"), start=first_line)
        if (line := full.strip())
    ]


def _decoded(text: bytes) -> _Bundle | _TornBundle:
    try:
        return _BUNDLE.decode(text)
    except RecursionError as error:
        raise DeliveryError(Reason.TOO_DEEP, "the body is nested too deep") from error
    except msgspec.ValidationError:
        try:
            return _TORN_BUNDLE.decode(text)
        except (msgspec.ValidationError, RecursionError) as error:
            raise _misshapen(text) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DeliveryError(Reason.NOT_JSON, "the body is not JSON, or not all of it") from error


def _slice(entry: Entry | Raw, index: int) -> Slice:
    position = f"entry[{index}]"
    if isinstance(entry, Raw):
        try:
            entry = _ENTRY.decode(entry)
        except msgspec.DecodeError:
            return Slice(b"", position)
    method = entry.request.get("method") if isinstance(entry.request, dict) else None
    return Slice(
        bytes(entry.resource),
        position,
        entry.fullUrl if isinstance(entry.fullUrl, str) else "",
        method if isinstance(method, str) else "",
    )


def _misshapen(text: bytes) -> DeliveryError:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return DeliveryError(Reason.NOT_JSON, "the body is not JSON, or not all of it")
    if not isinstance(found, dict):
        return DeliveryError(Reason.NOT_AN_OBJECT, "the body is not a JSON object")
    if not isinstance(found.get("resourceType"), str):
        return DeliveryError(Reason.NO_RESOURCE_TYPE, "the body does not say what it is")
    return DeliveryError(Reason.WRONG_TYPE, "entry: a list is required")


_BUNDLE = msgspec.json.Decoder(_Bundle)
_TORN_BUNDLE = msgspec.json.Decoder(_TornBundle)
_ENTRY = msgspec.json.Decoder(Entry)
