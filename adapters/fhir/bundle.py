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
NUL = rb"\u0000"
"""No character of FHIR's strings, and none that a database stores."""
SINGLE = "resource"
"""The position of a record that is a delivery of its own."""


class Entry(Struct, gc=False):
    """One entry. Wrong types are kept as they are: a bad entry must not spoil its neighbours."""

    fullUrl: Any = None  # noqa: N815 - FHIR's spelling
    resource: Raw = UNREAD
    request: Raw = UNREAD
    response: Raw = UNREAD


class _Bundle(Struct, gc=False):
    resourceType: str = ""  # noqa: N815
    entry: list[Entry] | None = None


class _TornBundle(Struct, gc=False):
    """A Bundle of which some entry is not even an object."""

    resourceType: str = ""  # noqa: N815
    entry: list[Raw] | None = None


class _Request(Struct, gc=False):
    method: str = ""


class Slice(Struct, gc=False):
    """A record as received, where it stood, and the fullUrl that came with it.

    `is_json` says that the bytes were already seen to be JSON, with those around them, and
    `may_hold_nul` that those hold the escape of NUL somewhere. An entry that `is_no_record` carries
    none by its nature: it asks for something (GET, HEAD), or only says how a request went.
    """

    raw: bytes | Raw
    position: str
    full_url: str = ""
    is_deletion: bool = False
    is_no_record: bool = False
    is_json: bool = False
    may_hold_nul: bool = True


def slices(text: bytes, within: str = "") -> list[Slice]:
    """The records of a Bundle in their order, or the one record that the text is.

    `within` is the position of the Bundle in another, with a dot.

    Raises:
        DeliveryError: the text is not JSON, not an object, has no resourceType, or a broken entry list.
    """
    bundle = _decoded(text)
    if not bundle.resourceType:
        raise DeliveryError(Reason.NO_RESOURCE_TYPE, "the body does not say what it is")
    if bundle.resourceType != "Bundle":
        return [Slice(text.strip(), SINGLE)]
    entries: Sequence[Entry | Raw] = bundle.entry or ()
    may_hold_nul = NUL in text
    return [_slice(entry, f"{within}entry[{at}]", may_hold_nul) for at, entry in enumerate(entries)]


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


def _slice(entry: Entry | Raw, position: str, may_hold_nul: bool) -> Slice:
    if isinstance(entry, Raw):
        try:
            entry = _ENTRY.decode(entry)
        except msgspec.DecodeError:
            return Slice(b"", position)
    return Slice(
        entry.resource,
        position,
        entry.fullUrl if isinstance(entry.fullUrl, str) else "",
        is_deletion=not entry.resource and b'"DELETE"' in bytes(entry.request),
        is_no_record=not entry.resource and _is_no_record(entry),
        is_json=True,
        may_hold_nul=may_hold_nul,
    )


def _is_no_record(entry: Entry) -> bool:
    if not entry.request:
        return bool(entry.response) and entry.fullUrl is None
    try:
        return _REQUEST.decode(entry.request).method in {"GET", "HEAD"}
    except msgspec.DecodeError:
        return False


def _misshapen(text: bytes) -> DeliveryError:
    try:
        found = msgspec.json.decode(text)
    except RecursionError:
        return DeliveryError(Reason.TOO_DEEP, "the body is nested too deep")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return DeliveryError(Reason.NOT_JSON, "the body is not JSON, or not all of it")
    if not isinstance(found, dict):
        return DeliveryError(Reason.NOT_AN_OBJECT, "the body is not a JSON object")
    if not isinstance(found.get("resourceType"), str):
        return DeliveryError(Reason.NO_RESOURCE_TYPE, "the body does not say what it is")
    return DeliveryError(Reason.WRONG_TYPE, "entry: a list is required")


_BUNDLE = msgspec.json.Decoder(_Bundle)
_TORN_BUNDLE = msgspec.json.Decoder(_TornBundle)
_ENTRY = msgspec.json.Decoder(Entry)
_REQUEST = msgspec.json.Decoder(_Request)
