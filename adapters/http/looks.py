"""Who looked at the same just now: a page that asks again every few seconds is one look."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

_SAME_LOOK_SECONDS = 300.0
_MAX_REMEMBERED = 10_000


class RecentLooks:
    """One for each web app; bounded. What is forgotten too early is written down once more."""

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        """Nobody has looked yet."""
        self._elapsed = elapsed
        self._seen: OrderedDict[Hashable, float] = OrderedDict()
        self._lock = Lock()

    def is_new(self, look: Hashable) -> bool:
        """Whether nobody had this look within the last five minutes; it counts from its first time."""
        with self._lock:
            now = self._elapsed()
            seen = self._seen.get(look)
            if seen is not None and now - seen < _SAME_LOOK_SECONDS:
                return False
            self._seen[look] = now
            self._seen.move_to_end(look)
            if len(self._seen) > _MAX_REMEMBERED:
                self._seen.popitem(last=False)
            return True
