"""The digest of a timeline as a chain over blocks of events, so that reading can go on from any block.

Knows where blocks end and how digests are chained. A block ends before the first moment at which it
holds `MIN_BLOCK` events and something became known later: what came after never moves an end, and
events that became known at one moment are never parted. So two timelines that agree up to an end
have the same digest there, and whoever was given that digest and the events since can vouch for
the whole.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clinical.timeline.event import Event

MIN_BLOCK = 256
RECENT = 512
"""At least so many of the newest events are always read again, in one piece."""

VERSION = "2"
"""Of the digest: it stands before the hex digits. Version 1 is `Timeline.digest`, bare hex digits."""

Versions = Sequence[tuple[datetime, Event]]


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first `num_events` events of a timeline, in `num_blocks` blocks; `digest` is hex SHA-256."""

    num_blocks: int
    num_events: int
    known_until: datetime | None
    digest: str


@dataclass(frozen=True, slots=True)
class Chain:
    """The prefixes at the ends of blocks, the first being where reading began, and the whole's digest."""

    prefixes: tuple[Prefix, ...]
    num_events: int
    digest: str

    @property
    def resumable(self) -> tuple[Prefix, ...]:
        """The prefixes after which enough recent events remain; reading goes on after the last."""
        first, *others = self.prefixes
        return (first, *(p for p in others if self.num_events - p.num_events >= RECENT))


def nothing_of(patient_id: UUID) -> Prefix:
    """Where the reading of a timeline begins."""
    digest = hashlib.sha256(f"timeline {VERSION}\n".encode() + patient_id.bytes).hexdigest()
    return Prefix(0, 0, None, digest)


def chain(before: Prefix, standing: Versions) -> Chain:
    """The chain of what stands, of which `before` was read already and `standing` is the rest."""
    prefixes = [before]
    start = 0
    for end in _ends(standing):
        block, last = standing[start:end], prefixes[-1]
        digest = _linked(last.digest, "block", block)
        num_events = last.num_events + len(block)
        prefixes.append(Prefix(last.num_blocks + 1, num_events, block[-1][0], digest))
        start = end
    whole = _linked(prefixes[-1].digest, "end", standing[start:])
    return Chain(tuple(prefixes), before.num_events + len(standing), f"{VERSION}:{whole}")


def is_kept(num_blocks: int, newest: int) -> bool:
    """Whether what was remembered after `num_blocks` is still worth keeping.

    The further back, the sparser: at most three per doubling of the distance. What was let go is
    never wanted again later, and whatever the distance of a late event, something is kept (or the
    beginning is) that lies less than three times as far back.
    """
    return newest - num_blocks <= 2 * (num_blocks & -num_blocks)


def _ends(standing: Versions) -> Iterator[int]:
    start = 0
    for place in range(1, len(standing)):
        if place - start >= MIN_BLOCK and standing[place][0] != standing[place - 1][0]:
            yield place
            start = place


def _linked(before: str, role: str, block: Versions) -> str:
    hasher = hashlib.sha256(f"{before} {role}\n".encode())
    for at, event in block:
        hasher.update(f"{at.isoformat()}\t{event.canonical()}\n".encode())
    return hasher.hexdigest()
