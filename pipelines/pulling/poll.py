"""What changed at a site since we last asked: the backstop for notifications that never came.

Pages are read by *key*: each question begins where the last answer ended, so that what changes
meanwhile pushes nothing over a page's edge. Only where many resources carry one and the same stamp,
or where a server does not sort, are its links followed: then over again, until two walks saw the
same. Knows what cannot be believed of a server. Does not know resources, and has no clock but theirs.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from adapters.fhir.pulling.asking import Asking
from adapters.fhir.pulling.pages import Key, Page, instant
from adapters.sites.pulling import Poll
from clinical.audit.entry import Act
from clinical.errors import ClinicalError, OperationalError, RejectedError
from clinical.services.messages import TakenOverError
from clinical.services.ports import Clock, PollTurn
from clinical.services.pulling import PullingService

ACTOR = "poll"
LEASE = timedelta(minutes=10)  # an answer may take five (`Limits.max_answer_seconds`)
_MAX_WALKS = 5
_LOOK_AGAIN_SECONDS = 1.0


class PageTooLargeError(RejectedError):
    """A page is larger than a reader opens: it is kept, and nothing after it is asked for."""

    code = "pull.page_too_large"


class Oddity(StrEnum):
    """What a server did otherwise than it was asked. None of it loses anything; it costs time."""

    NO_SELF_LINK = "no_self_link"  # it does not say what it was asked
    SORT_IGNORED = "sort_ignored"
    FILTER_IGNORED = "filter_ignored"
    COUNT_LOWERED = "count_lowered"
    OUTSIDE_WINDOW = "outside_window"  # older than what was asked for
    UNORDERED = "unordered"
    UNSTAMPED = "unstamped"  # no meta.lastUpdated
    UNSTEADY = "unsteady"  # no two walks saw the same: the watermark stays where it was


@dataclass(slots=True, kw_only=True)
class PollReport:
    """What one turn brought. `num_outcomes`: what the server said of its own answers, set aside."""

    num_pages: int = 0
    num_new_pages: int = 0
    num_resources: int = 0
    num_outcomes: int = 0
    oddities: set[Oddity] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Poller:
    """Asks one site. While it `is_crowded` (too much live work waits) no page is taken."""

    service: PullingService
    asking: Asking
    poll: Poll
    clock: Clock
    is_crowded: Callable[[], bool] = lambda: False
    sleep: Callable[[float], None] = time.sleep

    def turn(self, record_type: str, *, is_due: bool = True) -> PollReport | None:
        """Ask for what changed, to the end; None where somebody else does, or (if `is_due`) it is too soon.

        Raises:
            PageTooLargeError, LoopingPagesError, ForeignPageError, and as `Peer.ask` does; what was
            read before stays, and the watermark is where it can be gone on from.
        """
        every = timedelta(minutes=self.poll.every_minutes) if is_due else None
        turn = self.service.take_turn(self.asking.site, record_type, LEASE, every)
        if turn is None:
            return None
        sweep = _Sweep(self, turn)
        try:
            sweep.run()
        except TakenOverError:
            raise
        except ClinicalError as error:
            self._end(turn, sweep, error)
            raise
        self._end(turn, sweep, None)
        return sweep.report

    def _end(self, turn: PollTurn, sweep: "_Sweep", error: ClinicalError | None) -> None:
        report = sweep.report
        self.service.end_turn(
            turn,
            sweep.act,
            error_code=error.code if error is not None else "",
            again_after=error.retry_after if isinstance(error, OperationalError) else None,
            told=",".join(sorted(report.oddities)),
            new_pages=report.num_new_pages,
            outcomes=report.num_outcomes,
        )


class _Sweep:
    """One turn: from the watermark, less the overlap, to what is newest.

    A cursor is what `_lastUpdated` is asked for: `ge` or `gt` before an instant; empty: everything.
    """

    def __init__(self, poller: Poller, turn: PollTurn) -> None:
        self._poller = poller
        self._turn = turn
        self.report = PollReport()
        self.act = Act(actor=ACTOR, at=poller.clock.now())

    def run(self) -> None:
        """Read all there is; raises as `Poller.turn` does."""
        cursor: str | None = self._start()
        while cursor is not None:
            cursor = self._step(cursor)

    def _start(self) -> str:
        watermark, poll = self._turn.watermark, self._poller.poll
        if watermark is None:
            return f"ge{poll.since}" if poll.since else ""
        start = watermark.astimezone(UTC) - timedelta(minutes=poll.overlap_minutes)
        # Cut off, not rounded; some servers know no finer instants than milliseconds.
        return f"ge{start.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"

    def _step(self, cursor: str) -> str | None:
        """Read a page, or several where one is not enough; where to go on, None at the end."""
        page = next(self._ask(cursor))
        asked = instant(cursor[2:])
        if not page.next_link:
            self._take(page, moves=True)
            return None
        if not self._is_trusted(page, cursor):
            self._walk_all(cursor)
            return None
        if asked is None or page.newest is None or page.newest > asked:
            self._take(page, moves=True)
            return f"ge{page.newest_text}"
        return self._walk_through(asked, cursor)

    def _walk_all(self, cursor: str) -> None:
        """Follow the links of a server whose order cannot be trusted; the watermark moves at the end."""
        walk = self._steady_walk(cursor)
        if walk is not None:
            self._poller.service.hold(self._turn, _earlier(walk.newest, walk.said_at), LEASE)

    def _walk_through(self, tie: datetime, cursor: str) -> str | None:
        """Follow the links through resources that all carry the stamp that was asked from."""
        walk = self._steady_walk(cursor, tie)
        if walk is None or walk.is_over:
            return None
        # What follows on the last page of a walk may have been pushed there: it is asked for by key.
        return f"gt{walk.keys[-1][3]}"

    def _steady_walk(self, cursor: str, tie: datetime | None = None) -> "_Walk | None":
        """The walk that saw the same as the one before it, so that nothing moved; None where none did."""
        before: list[Key] | None = None
        for _ in range(_MAX_WALKS):
            walk = self._walk(cursor, tie)
            if walk.num_pages == 1 or walk.keys == before:
                return walk
            before = walk.keys
        self.report.oddities.add(Oddity.UNSTEADY)
        return None

    def _walk(self, cursor: str, tie: datetime | None) -> "_Walk":
        """From page to page by their links: to the end, or until something is newer than `tie`."""
        walk = _Walk()
        for page in self._ask(cursor):
            self._take(page, moves=False)
            walk.add(page, tie)
            if tie is not None and page.newest is not None and page.newest > tie:
                walk.is_over = False
                break
        return walk

    def _ask(self, cursor: str) -> Iterator[Page]:
        poller = self._poller
        asked = instant(cursor[2:])
        for page in poller.asking.changed(self._turn.record_type, cursor, poller.poll.page_size):
            self.report.num_pages += 1
            self.report.num_resources += len(page.keys)
            self.report.num_outcomes += page.num_outcomes
            self.report.oddities |= set(_oddities(page, asked, poller.poll.page_size))
            yield page

    def _is_trusted(self, page: Page, cursor: str) -> bool:
        """Whether what was not on the page is newer than all that was."""
        found = set(_oddities(page, instant(cursor[2:]), self._poller.poll.page_size))
        return found <= {Oddity.COUNT_LOWERED} and page.newest is not None

    def _take(self, page: Page, *, moves: bool) -> None:
        """Store a page; where it `moves` the watermark, that is done in the same commit.

        The watermark is the server's own newest stamp, or its own clock where that is earlier or
        where nothing has a stamp.
        """
        poller, turn = self._poller, self._turn
        while poller.is_crowded():
            poller.service.hold(turn, None, LEASE)
            poller.sleep(_LOOK_AGAIN_SECONDS)
        watermark = _earlier(page.newest, page.said_at) if moves and page.keys else None
        if not page.keys and not page.num_outcomes:
            poller.service.hold(turn, None, LEASE)
            return
        delivery = poller.asking.delivery(page, f"changed/{turn.record_type}")
        self.report.num_new_pages += poller.service.take_page(
            delivery,
            turn,
            self.act,
            watermark=None if page.is_too_large else watermark,
            lease=LEASE,
        )
        if page.is_too_large:
            raise PageTooLargeError("a page is larger than a reader opens: ask for smaller ones")


@dataclass(slots=True)
class _Walk:
    """What one walk from page to page saw."""

    keys: list[Key] = field(default_factory=list)
    num_pages: int = 0
    newest: datetime | None = None
    said_at: datetime | None = None  # when it began, by the server's clock
    is_over: bool = True

    def add(self, page: Page, tie: datetime | None) -> None:
        """One page more; with a `tie`, only what carries that stamp is compared."""
        if self.num_pages == 0:
            self.said_at = page.said_at
        self.num_pages += 1
        dated = zip(page.keys, page.stamps, strict=True)
        self.keys += [key for key, at in dated if tie is None or at == tie]
        newest = [each for each in (self.newest, page.newest) if each is not None]
        self.newest = max(newest, default=None)


def _oddities(page: Page, asked: datetime | None, page_size: int) -> Iterator[Oddity]:
    if not page.self_link:
        yield Oddity.NO_SELF_LINK
    else:
        if page.applied.get("_sort", [""])[0].split(",")[0] != "_lastUpdated":
            yield Oddity.SORT_IGNORED
        if asked is not None and "_lastUpdated" not in page.applied:
            yield Oddity.FILTER_IGNORED
        applied = page.applied.get("_count", [""])[0]
        if applied.isdecimal() and int(applied) < page_size:
            yield Oddity.COUNT_LOWERED
    if None in page.stamps:
        yield Oddity.UNSTAMPED
    elif not page.is_ascending:
        yield Oddity.UNORDERED
    if asked is not None and page.oldest is not None and page.oldest < asked:
        yield Oddity.OUTSIDE_WINDOW


def _earlier(newest: datetime | None, said_at: datetime | None) -> datetime | None:
    return min((each for each in (newest, said_at) if each is not None), default=None)
