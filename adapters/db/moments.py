"""The moment as the database has it: one clock for all processes, whichever machine's own clock is wrong.

Knows how far this machine's clock is from the database's, and looks again now and then. While the
database is away the difference found last goes on. Does not know what the moment is for.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Engine, func, select

from adapters.clock import SystemClock
from adapters.db.errors import translated

_EVERY_SECONDS = 60.0
_AGAIN_SECONDS = 2.0  # after it could not be asked


class DatabaseClock:
    """Implements the port `Clock`; a process on the wrong hour neither sees nor says a wrong moment."""

    def __init__(
        self,
        engine: Engine,
        own: Callable[[], datetime] | None = None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is asked before the first moment is."""
        self._engine = engine
        self._own = own or SystemClock().now
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._difference = timedelta(0)
        self._look_at = float("-inf")

    def now(self) -> datetime:
        """The current moment."""
        if self._elapsed() >= self._look_at and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._own() + self._difference

    def _look(self) -> None:
        try:
            with self._engine.connect() as connection:
                before = self._own()
                told = connection.scalar(select(func.clock_timestamp()))
                after = self._own()
        except Exception as error:
            if translated(error) is None:
                raise
            self._look_at = self._elapsed() + _AGAIN_SECONDS
            return
        assert told is not None
        # What is told lies between the two: only what is outside of them is a difference.
        self._difference = max(told - after, timedelta(0)) + min(told - before, timedelta(0))
        self._look_at = self._elapsed() + _EVERY_SECONDS
