"""How an EHR is told: all at once, or one resource after the other, each found again by our identifier.

Knows what the server takes and how it says where it put something. Raises the errors of a peer.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from adapters.egress.errors import PeerRefusedError, PeerUnavailableError
from adapters.egress.peer import Answer, Peer
from adapters.fhir.assessment import URI_SYSTEM
from adapters.fhir.capability import Capability
from adapters.fhir.outbound import Entry, transaction
from clinical.errors import RejectedError

JSON = "application/fhir+json"
_HEADERS = {"Accept": JSON, "Content-Type": JSON, "Prefer": "return=minimal"}


class OutcomeUnknownError(RejectedError):
    """Whether the EHR stored it is unknown and cannot be asked: a person has to look."""

    code = "ehr.outcome_unknown"


def tell(peer: Peer, entries: Sequence[Entry], capability: Capability, *, is_whole: bool) -> str:
    """Tell all of it, `is_whole` in one transaction; returns where the first that is no Device is.

    Raises:
        OutcomeUnknownError, and as Peer.ask does.
    """
    main = next(each for each in entries if _type(each) != "Device")
    if is_whole:
        return _told_at_once(peer, entries, main)
    return _told_one_by_one(peer, entries, capability)[main.full_url]


def _told_at_once(peer: Peer, entries: Sequence[Entry], main: Entry) -> str:
    found = find(peer, main)
    if found is not None:
        return found  # all was stored, or nothing would be
    body = json.dumps(transaction(entries)).encode()
    answer = peer.ask("POST", headers=_HEADERS, content=body)
    stored = _location(answer, _type(main)) or find(peer, main)
    if stored is None:
        raise PeerUnavailableError("the EHR did not say where it stored it")
    return stored


def _told_one_by_one(
    peer: Peer, entries: Sequence[Entry], capability: Capability
) -> dict[str, str]:
    places: dict[str, str] = {}
    for entry in entries:
        places[entry.full_url] = find(peer, entry) or _created(
            peer, Entry(entry.full_url, _resolved(entry.resource, places), entry.match), capability
        )
    return places


def _created(peer: Peer, entry: Entry, capability: Capability) -> str:
    body = json.dumps(entry.resource).encode()
    try:
        answer = peer.ask(
            "POST", _type(entry), headers={**_HEADERS, "If-None-Exist": entry.match}, content=body
        )
    except PeerUnavailableError as error:
        if error.may_have_acted and not _can_be_asked(entry, capability):
            raise OutcomeUnknownError("whether the EHR stored it cannot be found out") from error
        raise
    stored = _place_of(answer.headers.get("location", ""), _type(entry)) or find(peer, entry)
    if stored is None:
        raise PeerUnavailableError("the EHR did not say where it stored it")
    return stored


def _can_be_asked(entry: Entry, capability: Capability) -> bool:
    """Whether a second attempt would find what the first one stored."""
    kind = _type(entry)
    by = entry.match.partition("=")[0]
    return kind in capability.conditional_creates or by in capability.searches.get(kind, ())


def _resolved(value: Any, places: Mapping[str, str]) -> Any:
    """The same with our own addresses replaced by where the EHR holds them."""
    if isinstance(value, list):
        return [_resolved(each, places) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: places.get(each, each)
        if name == "reference" and isinstance(each, str)
        else _resolved(each, places)
        for name, each in value.items()
    }


def find(peer: Peer, entry: Entry) -> str | None:
    """What carries our identifier, if the EHR holds it and can be searched.

    What comes back is looked at: a server may ignore a search parameter and return everything.
    """
    try:
        answer = peer.ask("GET", f"{_type(entry)}?{_quoted(entry.match)}", headers={"Accept": JSON})
    except PeerRefusedError:
        return None  # no search here: the conditional create finds it
    for each in _entries(_document(answer)):
        resource = each.get("resource")
        if isinstance(resource, dict) and carries(resource, entry.full_url):
            return f"{_type(entry)}/{resource.get('id')}"
    return None


def _quoted(match: str) -> str:
    name, _, value = match.partition("=")
    return f"{name}={quote(value, safe='')}"


def carries(resource: dict[str, Any], wanted: str) -> bool:
    """Whether a resource has our identifier, as one or as a tag."""
    meta = resource.get("meta")
    tags = meta.get("tag") if isinstance(meta, dict) else None
    named = [(each.get("system"), each.get("value")) for each in _dicts(resource.get("identifier"))]
    tagged = [(each.get("system"), each.get("code")) for each in _dicts(tags)]
    return (URI_SYSTEM, wanted) in (*named, *tagged)


def _location(answer: Answer, kind: str) -> str | None:
    """Where the transaction's answer says that the first of a type is."""
    for entry in _entries(_document(answer)):
        response = entry.get("response")
        place = response.get("location") if isinstance(response, dict) else None
        found = _place_of(str(place or ""), kind)
        if found is not None:
            return found
    return None


def _place_of(location: str, kind: str) -> str | None:
    segments = location.split("/")
    if kind not in segments[:-1]:
        return None
    return f"{kind}/{segments[segments.index(kind) + 1]}"


def _document(answer: Answer) -> dict[str, Any]:
    """`return=minimal` may leave nothing to read."""
    return answer.document() if answer.body.strip() else {}


def _entries(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    return _dicts(bundle.get("entry"))


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _type(entry: Entry) -> str:
    return str(entry.resource["resourceType"])
