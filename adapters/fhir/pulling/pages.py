"""An answer of a search or of `$everything`, looked at from outside: what came, when it changed, what is next.

Knows Bundles and their links. Does not know what the resources say: the bytes go to a reader whole.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import msgspec
from msgspec import Raw, Struct

from adapters.egress.errors import UnreadableAnswerError
from adapters.egress.peer import Answer, Peer
from adapters.fhir.body import MAX_BODY_BYTES
from adapters.fhir.datatypes import UNREAD
from adapters.fhir.pulling.errors import ForeignPageError, LoopingPagesError

_ACCEPT = {"Accept": "application/fhir+json"}
_OUTCOME = "OperationOutcome"
_MATCH = "match"

Key = tuple[str, str, str, str]
"""Type, id, version and stamp of one resource, as the EHR wrote them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page.

    `digest` (hex SHA-256) is of its resources alone: what an EHR says anew in every answer, such as
    an id of the Bundle, does not change it.
    `stamps` are the `meta.lastUpdated` of what was found, in their order, None where one has none;
    `said_at` is the EHR's own clock when it answered.
    """

    body: bytes
    digest: str
    self_link: str
    next_link: str
    keys: tuple[Key, ...]
    stamps: tuple[datetime | None, ...]
    num_outcomes: int
    said_at: datetime | None

    @property
    def is_too_large(self) -> bool:
        """Whether it is beyond what a reader opens."""
        return len(self.body) > MAX_BODY_BYTES

    @property
    def newest(self) -> datetime | None:
        """The newest stamp."""
        return max((each for each in self.stamps if each is not None), default=None)

    @property
    def newest_text(self) -> str:
        """The newest stamp in the EHR's own words; empty where nothing has one."""
        dated = [(at, key[3]) for at, key in zip(self.stamps, self.keys, strict=True) if at]
        return max(dated, default=(None, ""))[1]

    @property
    def oldest(self) -> datetime | None:
        """The oldest stamp."""
        return min((each for each in self.stamps if each is not None), default=None)

    @property
    def is_ascending(self) -> bool:
        """Whether every resource has a stamp, and none is older than the one before it."""
        known = [each for each in self.stamps if each is not None]
        return len(known) == len(self.stamps) and known == sorted(known)

    @property
    def applied(self) -> Mapping[str, list[str]]:
        """What the server says that it was asked (`link[self]`)."""
        return parse_qs(urlsplit(self.self_link).query)


def pages(peer: Peer, where: str, params: Mapping[str, str]) -> Iterator[Page]:
    """The pages from the first to the last, by `link[next]`.

    Raises:
        ForeignPageError: the next page is on another host; what was yielded stands.
        LoopingPagesError: a page, or what is on it, was here before.
        UnreadableAnswerError: an answer is no Bundle. And as `Peer.ask` does.
    """
    seen: set[str] = set()
    query: Mapping[str, str] | None = params
    while where:
        answer = peer.ask("GET", where, headers=_ACCEPT, params=query)
        page = read(answer, peer.address_of(where))
        if page.keys and page.digest in seen:
            raise LoopingPagesError("a page came again that was read before")
        yield page
        seen |= {page.digest, where}
        where, query = page.next_link, None
        _require_ours(where, seen, peer)


def read(answer: Answer, url: str) -> Page:
    """The page that the answer from `url` is; raises UnreadableAnswerError."""
    try:
        bundle = _BUNDLE.decode(answer.body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableAnswerError("the answer is no page of resources") from error
    if bundle.resourceType != "Bundle":
        raise UnreadableAnswerError("the answer is no Bundle")
    entries = [_entry(each) for each in bundle.entry]
    found = [(each, _tag(each.resource)) for each in entries]
    # What is included beside the matches has a place of its own in no order.
    matches = [tag for each, tag in found if each.search.mode in ("", _MATCH) and tag.is_resource]
    return Page(
        body=answer.body,
        digest=_digest(each.resource for each in entries),
        self_link=_link(bundle.link, "self"),
        next_link=_resolved(url, _link(bundle.link, "next")),
        keys=tuple(
            (tag.resourceType, tag.id, tag.meta.versionId, tag.meta.lastUpdated) for tag in matches
        ),
        stamps=tuple(instant(tag.meta.lastUpdated) for tag in matches),
        num_outcomes=sum(tag.resourceType == _OUTCOME for _, tag in found),
        said_at=_said_at(answer.headers),
    )


def instant(text: str) -> datetime | None:
    """The instant that a text is; None where it is none. What is finer than a microsecond is cut off."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


class _Link(Struct):
    relation: str = ""
    url: str = ""


class _Search(Struct):
    mode: str = ""


class _Entry(Struct):
    resource: Raw = UNREAD
    search: _Search = msgspec.field(default_factory=_Search)


class _Bundle(Struct):
    resourceType: str = ""  # noqa: N815 - FHIR's spelling
    link: list[_Link] = []
    entry: list[Raw] = []


class _Meta(Struct):
    versionId: str = ""  # noqa: N815
    lastUpdated: str = ""  # noqa: N815


class _Tag(Struct):
    resourceType: str = ""  # noqa: N815
    id: str = ""
    meta: _Meta = msgspec.field(default_factory=_Meta)

    @property
    def is_resource(self) -> bool:
        return self.resourceType not in ("", _OUTCOME)


_BUNDLE = msgspec.json.Decoder(_Bundle)
_ENTRY = msgspec.json.Decoder(_Entry)
_TAG = msgspec.json.Decoder(_Tag)


def _entry(raw: Raw) -> _Entry:
    """An entry, whole in place of its resource where it is spoilt: it must not spoil its neighbours."""
    try:
        return _ENTRY.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Entry(resource=raw)


def _tag(raw: Raw) -> _Tag:
    """What names a resource; nothing where that is spoilt, which the reader will tell of."""
    try:
        return _TAG.decode(raw) if bytes(raw) else _Tag()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Tag(resourceType="?")


def _digest(resources: Iterator[Raw]) -> str:
    hasher = hashlib.sha256()
    for each in resources:
        hasher.update(hashlib.sha256(each).digest())
    return hasher.hexdigest()


def _link(links: list[_Link], relation: str) -> str:
    return next((each.url for each in links if each.relation == relation), "")


def _resolved(url: str, link: str) -> str:
    return urljoin(url, link) if link else ""


def _require_ours(where: str, seen: set[str], peer: Peer) -> None:
    if not where:
        return
    if _host(where) != _host(peer.base_url):
        raise ForeignPageError("the next page is said to be on another host")
    if where in seen:
        raise LoopingPagesError("the next page is one that was read before")


def _host(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _said_at(headers: Mapping[str, Any]) -> datetime | None:
    try:
        said = parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return None
    return said if said.tzinfo is not None else None
