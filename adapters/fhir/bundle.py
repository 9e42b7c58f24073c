"""A body cut into its records: each a slice of the very bytes that were received, none of them decoded.

Knows Bundles, single resources and lines. Does not know what the records say.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from adapters.fhir.datatypes import UNREAD
from adapters.fhir.errors import DeliveryError, Reason

NDJSON = "application/fhir+ndjson"
NUL = rb"\u0000"
"""No character of FHIR's strings, and none that a database stores."""
SINGLE = "resource"
"""The position of a record that is a delivery of its own."""


_Shape = TypeVar("_Shape")


class Entry(Struct, gc=False):
    """One entry. Wrong types are kept as they are: a bad entry must not spoil its neighbours."""

    fullUrl: Any = None  # noqa: N815 - FHIR's spelling
    resource: Raw = UNREAD
    request: Raw = UNREAD
    response: Raw = UNREAD


class _Bundle(Struct, gc=False):
    resourceType: str = ""  # noqa: N815
    meta: Raw = UNREAD
    timestamp: Any = None
    entry: list[Entry] | None = None


class _TornBundle(Struct, gc=False):
    """A Bundle of which some entry is not even an object."""

    resourceType: str = ""  # noqa: N815
    meta: Raw = UNREAD
    timestamp: Any = None
    entry: list[Raw] | None = None


class _Request(Struct, gc=False):
    method: str = ""
    url: str = ""


class _Response(Struct, gc=False):
    lastModified: str | None = None  # noqa: N815 - FHIR's spelling


class _Meta(Struct, gc=False):
    lastUpdated: str | None = None  # noqa: N815


class Deletion(NamedTuple):
    """What an entry says was deleted, as it is written there, and when: at the latest then."""

    url: str
    raw: bytes
    deleted_at: str | None


class Slice(Struct, gc=False):
    """A record as received, where it stood, and the fullUrl that came with it.

    `is_json` says that the bytes were already seen to be JSON, with those around them, and
    `may_hold_nul` that those hold the escape of NUL somewhere. An entry that `is_no_record` carries
    none by its nature: it asks for something (GET, HEAD), or only says how a request went.
    """

    raw: bytes | Raw
    position: str
    full_url: str = ""
    deletion: Deletion | None = None
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
    return [
        _slice(bundle, entry, f"{within}entry[{at}]", may_hold_nul)
        for at, entry in enumerate(entries)
    ]


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


def _slice(
    bundle: _Bundle | _TornBundle, entry: Entry | Raw, position: str, may_hold_nul: bool
) -> Slice:
    if isinstance(entry, Raw):
        try:
            entry = _ENTRY.decode(entry)
        except msgspec.DecodeError:
            return Slice(b"", position)
    return Slice(
        entry.resource,
        position,
        entry.fullUrl if isinstance(entry.fullUrl, str) else "",
        deletion=None if entry.resource else _deletion(bundle, entry),
        is_no_record=not entry.resource and _is_no_record(entry),
        is_json=True,
        may_hold_nul=may_hold_nul,
    )


def _deletion(bundle: _Bundle | _TornBundle, entry: Entry) -> Deletion | None:
    """By a history, or a file of the deletions that an export found.

    A history says when each was done. Such a file says only when it was made, which is no earlier.
    """
    request = _read(_REQUEST, entry.request)
    if request is None or request.method != "DELETE":
        return None
    response, meta = _read(_RESPONSE, entry.response), _read(_META, bundle.meta)
    stated = (
        response and response.lastModified,
        bundle.timestamp if isinstance(bundle.timestamp, str) else None,
        meta and meta.lastUpdated,
    )
    return Deletion(
        request.url, bytes(entry.request), next((each for each in stated if each), None)
    )


def _read(decoder: msgspec.json.Decoder[_Shape], raw: Raw) -> _Shape | None:
    if not bytes(raw):
        return None
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


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
_RESPONSE = msgspec.json.Decoder(_Response)
_META = msgspec.json.Decoder(_Meta)
