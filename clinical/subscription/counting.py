"""Which events of a subscription were seen, and which are missing.

Numbers count the events of one subscription from its beginning, without holes (Subscriptions R5
Backport 1.1, "Event numbers"); notifications come in any order, and more than once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

# Beyond so many holes they are told as one: asking again for what is held is harmless.
MAX_GAPS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Events `first` to `last` are missing since `found_at`; `given_up_at` once nobody looks for them.

    `told_by` is the delivery that told of them, where one did.
    """

    first: int
    last: int
    found_at: datetime
    given_up_at: datetime | None = None
    told_by: UUID | None = None

    @property
    def num_missing(self) -> int:
        """How many events that is."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """The highest number known of, and the gaps up to it, ascending, none overlapping; None: nothing was heard."""

    highest: int | None = None
    gaps: tuple[Gap, ...] = ()

    def heard(
        self,
        numbers: Iterable[int],
        total: int | None,
        at: datetime,
        *,
        told_by: UUID | None = None,
    ) -> "Count":
        """After a notification with these event numbers, whose EHR has counted `total` events.

        Where nothing was heard before, counting begins here: what came earlier is not ours to miss.
        """
        seen = sorted({number for number in numbers if number > 0})
        known = self.highest
        if known is None and not seen and total is None:
            return self
        if known is None:
            known = seen[0] - 1 if seen else (total or 0)
        top = max(known, total or 0, seen[-1] if seen else 0)
        gaps = list(self.gaps)
        if top > known:
            gaps.append(Gap(first=known + 1, last=top, found_at=at, told_by=told_by))
        return Count(highest=top, gaps=_bounded(_without(gaps, seen)))

    def restarted(self, total: int) -> "Count":
        """The EHR counts anew: what was missing by the old numbers cannot be asked for by them."""
        return Count(highest=total)

    def covered(self, before: datetime) -> "Count":
        """Everything found missing by this moment was got in another way."""
        return replace(self, gaps=tuple(gap for gap in self.gaps if gap.found_at > before))

    def given_up(self, before: datetime, at: datetime) -> "Count":
        """Nobody looks any more for what was found missing by this moment."""
        return replace(
            self,
            gaps=tuple(
                replace(gap, given_up_at=at)
                if gap.found_at <= before and gap.given_up_at is None
                else gap
                for gap in self.gaps
            ),
        )

    @property
    def sought(self) -> tuple[Gap, ...]:
        """The gaps that are not given up."""
        return tuple(gap for gap in self.gaps if gap.given_up_at is None)

    def overdue(self, before: datetime) -> tuple[Gap, ...]:
        """Those sought that were found by this moment."""
        return tuple(gap for gap in self.sought if gap.found_at <= before)


def _without(gaps: list[Gap], seen: list[int]) -> list[Gap]:
    """The gaps that are left once these numbers, ascending, were seen; one pass over both."""
    left: list[Gap] = []
    at = 0
    for gap in gaps:
        first = gap.first
        while at < len(seen) and seen[at] < first:
            at += 1
        while at < len(seen) and seen[at] <= gap.last:
            if seen[at] > first:
                left.append(replace(gap, first=first, last=seen[at] - 1))
            first = seen[at] + 1
            at += 1
        if first <= gap.last:
            left.append(replace(gap, first=first))
    return left


def _bounded(gaps: list[Gap]) -> tuple[Gap, ...]:
    if len(gaps) <= MAX_GAPS:
        return tuple(gaps)
    sought = [gap for gap in gaps if gap.given_up_at is None] or gaps
    oldest = min(gap.found_at for gap in sought)
    return (replace(gaps[0], last=gaps[-1].last, found_at=oldest, given_up_at=None),)


def ranges_of(gaps: Sequence[Gap], *, most: int, at_once: int) -> Iterator[tuple[int, int]]:
    """What to ask for in one go, both ends included; no more than `most` events in all."""
    left = most
    for gap in gaps:
        last = min(gap.last, gap.first + left - 1)
        for first in range(gap.first, last + 1, at_once):
            yield first, min(first + at_once - 1, last)
        left -= min(left, gap.num_missing)
