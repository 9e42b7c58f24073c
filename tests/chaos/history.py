"""What clients did and what they were told: operations that ended ok, fail, or unknown.

An unknown operation may or may not have happened; nothing here decides which. Knows no service.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How an operation ended for whoever asked for it."""

    OK = "ok"
    FAIL = "fail"  # certainly without effect
    UNKNOWN = "unknown"


@dataclass(slots=True, kw_only=True)
class Operation:
    """One thing that a client asked for; `told` is what it heard back. Moments are monotonic seconds."""

    who: str
    what: str
    key: str
    asked: dict[str, Any] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    began: float = 0.0
    ended: float = 0.0
    outcome: Outcome = Outcome.UNKNOWN


class History:
    """Operations of many clients, in the order in which they began."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._lock = threading.Lock()

    @contextmanager
    def operation(self, who: str, what: str, key: str, **asked: Any) -> Iterator[Operation]:
        """An operation that is unknown until the block says otherwise."""
        done = Operation(who=who, what=what, key=key, asked=asked, began=time.monotonic())
        with self._lock:
            self._operations.append(done)
        try:
            yield done
        finally:
            done.ended = time.monotonic()

    def of(self, what: str) -> list[Operation]:
        """All operations of a kind."""
        with self._lock:
            return [each for each in self._operations if each.what == what]
