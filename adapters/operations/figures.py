"""What waits, since when, and who is at work, as values; `adapters.db.operating` reads them.

Knows names and units only.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How many of one sort there are, and the age of the oldest in seconds."""

    kind: str  # of a message; empty for reviews
    state: str
    num: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The last word of a worker. `relay_trouble` is empty, or the error that keeps it from publishing."""

    worker: str
    seconds_ago: float
    relay_trouble: str
    num_unsequenced: int
    oldest_unsequenced_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsequenced:
    """Audit entries without a leaf: how many, and the age of the oldest, when they were looked for."""

    num: int = 0
    oldest_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingFigures:
    """What waits, what was given up, who is at work; all of one moment."""

    owed: tuple[Waiting, ...] = ()
    given_up: tuple[tuple[str, int], ...] = ()  # kind and number
    num_dead_letters: int = 0  # what the broker would not deliver any more
    open_reviews: tuple[Waiting, ...] = ()
    heartbeats: tuple[Heartbeat, ...] = ()  # the latest first
