"""The gate before the doors: webhooks have their own, small share of the process, so that they starve nobody.

Knows how many are inside and what is shed. Those beyond are refused before their body is read, and
told when to come again; whoever is inside is served by threads that only webhooks use. Nothing else
passes here: not the page, not a claim, not a signature.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

from clinical.services.shedding import OverloadedError, SheddingService

# As many as they have database connections (adapters/assembly/web.py): none waits for one.
NUM_THREADS = 8

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Gate:
    """One for each web app."""

    def __init__(self, shedding: SheddingService, max_at_once: int) -> None:
        """Nobody is inside."""
        self._shedding = shedding
        self._max_at_once = max_at_once
        self._num_inside = 0
        self._threads: CapacityLimiter | None = None

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Be inside for as long as the block runs; raises OverloadedError."""
        if self._num_inside >= self._max_at_once:
            raise OverloadedError("too many deliveries at once: nothing was stored")
        self._num_inside += 1
        try:
            if not self._shedding.is_fresh:
                await self.run(self._shedding.now)
            self._shedding.require_room()
            yield
        finally:
            self._num_inside -= 1

    async def run(
        self,
        work: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Do it in one of the threads of this gate."""
        if self._threads is None:
            self._threads = CapacityLimiter(NUM_THREADS)
        return await to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._threads)
