"""What was refused, counted: the audit log hears of all of it, and no flood of it can fill the disk.

The first refusal of its kind is told within a second; those alike within the next minute are told
together. Only `_MAX_KINDS` kinds are kept apart at once: beyond, refusals are told by method, status
and error alone, of which there are few. So a minute costs a bounded number of entries, whatever is
sent, and refusing costs no write. What was counted but not told is lost where the process is killed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from fastapi.concurrency import run_in_threadpool

from adapters.http.metrics import known
from adapters.telemetry import error_fields, logger
from clinical.errors import ClinicalError
from clinical.services.access import Refusal, Refused

_MAX_KINDS = 64
_TOGETHER_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 1.0
_CLIENT_WENT_AWAY = 499
_BAD_REQUEST = 400
# What probes ask: a service that says it is not ready has refused nobody anything.
_UNCOUNTED = ("/health", "/metrics", "/static")

_log = logger("clinical.http")

Tell = Callable[[Sequence[Refused], datetime], None]


@dataclass(slots=True)
class _Counted:
    count: int
    began: float
    request_id: str
    told: float | None = None


class Refusals:
    """One for each web app; safe to use from several threads. Reads no clock but one that only runs."""

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        """Nothing was refused yet."""
        self._elapsed = elapsed
        self._counted: dict[Refusal, _Counted] = {}
        self._lock = Lock()
        self.telling = Lock()  # held by whoever tells: else two of them would tell the same

    def note(self, refusal: Refusal, request_id: str) -> None:
        """Count one."""
        with self._lock:
            if refusal not in self._counted and len(self._counted) >= _MAX_KINDS:
                refusal = replace(refusal, actor="", address="", route="various")
            counted = self._counted.get(refusal)
            if counted is None:
                counted = self._counted[refusal] = _Counted(0, 0.0, "")
            if counted.count == 0:
                counted.began, counted.request_id = self._elapsed(), request_id
            counted.count += 1

    def due(self, now: datetime, *, all_of_it: bool = False) -> list[Refused]:
        """What is to be told now; `told` says that it was."""
        with self._lock:
            ran = self._elapsed()
            free = {
                refusal: counted
                for refusal, counted in self._counted.items()
                if all_of_it or counted.told is None or ran - counted.told >= _TOGETHER_SECONDS
            }
            for refusal in [each for each, counted in free.items() if counted.count == 0]:
                del self._counted[refusal], free[refusal]
            return [
                Refused(
                    refusal=refusal,
                    count=counted.count,
                    since=now - timedelta(seconds=ran - counted.began),
                    request_id=counted.request_id,
                )
                for refusal, counted in free.items()
            ]

    def told(self, refused: Sequence[Refused]) -> None:
        """These are written down."""
        with self._lock:
            for each in refused:
                counted = self._counted[each.refusal]
                counted.count -= each.count
                counted.told = counted.began = self._elapsed()


def refusal_of(scope: Mapping[str, Any], route: str, status: int) -> Refusal | None:
    """What the answer to this request was, if it was a refusal."""
    is_refusal = status >= _BAD_REQUEST and status != _CLIENT_WENT_AWAY
    if not is_refusal or route.startswith(_UNCOUNTED):
        return None
    client = scope.get("client")
    return Refusal(
        actor=str(scope.get("clinical_actor", "")),
        address=str(client[0]) if client else "",
        method=known(scope["method"]),
        route=route,
        status=status,
        why=str(scope.get("clinical_refused_why", ClinicalError.code)),
    )


@asynccontextmanager
async def told_meanwhile(
    refusals: Refusals, tell: Tell, now: Callable[[], datetime]
) -> AsyncIterator[None]:
    """Tell what is due every second for as long as the block runs, and the rest at its end."""
    telling = asyncio.create_task(_keep_telling(refusals, tell, now))
    try:
        yield
    finally:
        telling.cancel()
        await run_in_threadpool(tell_due, refusals, tell, now, all_of_it=True)


async def _keep_telling(refusals: Refusals, tell: Tell, now: Callable[[], datetime]) -> None:
    while True:
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
        await run_in_threadpool(tell_due, refusals, tell, now)


def tell_due(
    refusals: Refusals, tell: Tell, now: Callable[[], datetime], *, all_of_it: bool = False
) -> None:
    """Tell it in one go; what cannot be told now stays counted, and is told the next time."""
    try:
        with refusals.telling:
            moment = now()
            refused = refusals.due(moment, all_of_it=all_of_it)
            if refused:
                tell(refused, moment)
                refusals.told(refused)
    except Exception as error:  # noqa: BLE001 - the next second is another chance
        _log.warning("refusals not told", **error_fields(error))
