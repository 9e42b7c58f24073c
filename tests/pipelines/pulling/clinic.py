"""An EHR whose resources change while it is asked: search by `_lastUpdated`, pages by offset.

Pages by offset are the hard case: what changes between two pages moves to the end, and everything
behind it one place forward, over the edge of a page that was read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.pipelines.importing_stage import observation

BEGINNING = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@dataclass(kw_only=True)
class Clinic:
    """Observations, each with its newest version. `before_answer` is called with every request."""

    base_url: str = "http://127.0.0.1/fhir"
    now: datetime = BEGINNING
    sorts: bool = True
    filters: bool = True
    names_itself: bool = True
    max_count: int = 1000
    held: dict[str, tuple[datetime, int]] = field(default_factory=dict)
    hidden: dict[str, datetime] = field(default_factory=dict)
    extra: list[dict[str, Any]] = field(default_factory=list)  # entries of every page
    queries: list[dict[str, str]] = field(default_factory=list)
    before_answer: Callable[[], None] = lambda: None

    def write(self, record_id: str) -> None:
        """Create or change one, now."""
        _, version = self.held.get(record_id, (self.now, 0))
        self.held[record_id] = (self.now, version + 1)
        self.hidden.pop(record_id, None)

    def write_unseen(self, record_id: str) -> None:
        """Create one that is stamped now and comes to light later: its transaction takes its time."""
        if record_id not in self.held:
            self.hidden.setdefault(record_id, self.now)

    def reveal(self, *, older_than: timedelta = timedelta(0)) -> None:
        """Let them come to light."""
        for record_id, stamp in list(self.hidden.items()):
            if self.now - stamp >= older_than:
                self.held[record_id] = (self.hidden.pop(record_id), 1)

    def current(self) -> set[tuple[str, str]]:
        """Id and version of each."""
        return {(record_id, str(version)) for record_id, (_, version) in self.held.items()}

    def search(self, url: str) -> tuple[dict[str, Any], dict[str, str]]:
        """The Bundle and the headers in answer to a search."""
        self.before_answer()
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        self.queries.append(query)
        found = self._found(query.get("_lastUpdated", ""))
        count = min(int(query.get("_count", "50")), self.max_count)
        offset = int(query.get("offset", "0"))
        links = []
        if self.names_itself:
            links.append(
                {"relation": "self", "url": self._address({**query, "_count": str(count)})}
            )
        if offset + count < len(found):
            following = {**query, "offset": str(offset + count)}
            links.append({"relation": "next", "url": self._address(following, is_self=False)})
        page = found[offset : offset + count]
        bundle = {
            "resourceType": "Bundle",
            "id": f"answer-{len(self.queries)}",
            "type": "searchset",
            "link": links,
            "entry": [*({"resource": each} for each in page), *self.extra],
        }
        return bundle, {"Date": format_datetime(self.now.replace(microsecond=0), usegmt=True)}

    def _found(self, since: str) -> list[dict[str, Any]]:
        known = [(stamp, key, version) for key, (stamp, version) in self.held.items()]
        if since and self.filters:
            moment = datetime.fromisoformat(since[2:])
            is_in = {"ge": moment.__le__, "gt": moment.__lt__}[since[:2]]
            known = [each for each in known if is_in(each[0])]
        known.sort(key=lambda each: each[:2] if self.sorts else (BEGINNING, each[1]))
        return [_resource(key, stamp, version) for stamp, key, version in known]

    def _address(self, query: dict[str, str], *, is_self: bool = True) -> str:
        ignored = set()
        if is_self and not self.sorts:
            ignored.add("_sort")
        if is_self and not self.filters:
            ignored.add("_lastUpdated")
        applied = {name: value for name, value in query.items() if name not in ignored}
        return f"{self.base_url}/Observation?{urlencode(applied)}"


def _resource(record_id: str, stamp: datetime, version: int) -> dict[str, Any]:
    meta = {"versionId": str(version), "lastUpdated": stamp.isoformat(timespec="milliseconds")}
    return observation(record_id, meta=meta)
