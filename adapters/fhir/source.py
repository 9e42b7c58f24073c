"""The EHR as something that can be asked: one record, or what changed, page by page.

Only the site's own server is asked: a link to the next page on another host is refused. What comes
back is handed on as the bytes that came.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from adapters.egress.errors import PeerRefusedError, UnreadableAnswerError
from adapters.egress.peer import Answer, Peer
from adapters.fhir.client import UnknownEhrError
from clinical.services.ports import Fetched
from clinical.subscription.notification import RecordRef

FHIR_JSON = "application/fhir+json"
ACCEPT = {"Accept": FHIR_JSON}
_NOT_FOUND, _GONE = 404, 410
_PAGE = 200  # the largest page of many servers is more; the default of some is 20
_MOST_PAGES = 100_000


class FhirSource:
    """Implements the port `EhrSource` over HTTP."""

    def __init__(self, peers: Mapping[str, Peer]) -> None:
        """`peers` are by site."""
        self._peers = peers

    def read(self, site: str, ref: RecordRef) -> Fetched:
        """The record as it is now (FHIR RESTful API, "read").

        Raises:
            UnknownEhrError, and as Peer.ask does but for 404 and 410.
        """
        asked = f"{ref.record_type}/{ref.record_id}"
        try:
            answer = self._peer(site).ask("GET", asked, headers=ACCEPT)
        except PeerRefusedError as error:
            if error.status not in (_NOT_FOUND, _GONE):
                raise
            return Fetched(
                asked=asked,
                body=error.body,
                content_type=FHIR_JSON,
                is_gone=True,
                is_surely_gone=error.status == _GONE,
            )
        answer.document()
        return fetched(asked, answer)

    def search(self, site: str, query: str, since: datetime) -> Iterator[Fetched]:
        """What changed since then, by the EHR's clock; `query` is `Type` or `Type?parameters`.

        Raises:
            UnknownEhrError, and as Peer.ask does; ForeignAddressError for a page on another host.
        """
        peer = self._peer(site)
        joint = "&" if "?" in query else "?"
        where = f"{query}{joint}_lastUpdated=ge{_instant(since)}&_count={_PAGE}"
        seen: set[str] = set()
        while where and where not in seen and len(seen) < _MOST_PAGES:
            seen.add(where)
            answer = peer.ask("GET", where, headers=ACCEPT)
            page = answer.document()
            if page.get("resourceType") != "Bundle":
                raise UnreadableAnswerError("the answer to a search is no Bundle")
            yield fetched(query, answer, page)
            where = next_page(page)

    def _peer(self, site: str) -> Peer:
        peer = self._peers.get(site)
        if peer is None:
            raise UnknownEhrError("no FHIR server is configured for this site")
        return peer


def fetched(asked: str, answer: Answer, page: Mapping[str, Any] | None = None) -> Fetched:
    """The answer as bytes, with the EHR's clock where it tells it."""
    return Fetched(
        asked=asked,
        body=answer.body,
        content_type=FHIR_JSON,
        stated_at=_stated_at(answer.headers.get("date", ""), page or {}),
    )


def next_page(page: Mapping[str, Any]) -> str:
    """The address of the next page; empty on the last."""
    links = page.get("link")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("relation") == "next":
            url = link.get("url")
            return url if isinstance(url, str) else ""
    return ""


def _stated_at(date: str, page: Mapping[str, Any]) -> datetime | None:
    """When it answered by its own clock: what the Bundle says, or the header `Date`."""
    meta = page.get("meta")
    said = meta.get("lastUpdated") if isinstance(meta, dict) else None
    try:
        moment = datetime.fromisoformat(said) if isinstance(said, str) else None
        moment = moment or parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return None
    return moment if moment.tzinfo is not None else None


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
