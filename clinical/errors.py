"""The root of every error that this service raises on purpose.

An error has a stable `code` (append only, listed in the README of this room), and a loudness that
says whose move it is. Messages never carry patient data: they go to logs and to callers.
"""

from datetime import timedelta
from enum import StrEnum
from typing import ClassVar


class Loudness(StrEnum):
    """Who has to act."""

    REJECTED = "rejected"  # the caller's fault: 4xx, never retried
    OPERATIONAL = "operational"  # expected to pass: retried and counted
    BROKEN = "broken"  # ours: somebody is called


class ClinicalError(Exception):
    """An error with a stable code; every other error of ours derives from it."""

    code: ClassVar[str] = "clinical.broken"
    loudness: ClassVar[Loudness] = Loudness.BROKEN


class RejectedError(ClinicalError):
    """What was asked cannot be done, and asking again will not change that."""

    code = "clinical.rejected"
    loudness = Loudness.REJECTED


class OperationalError(ClinicalError):
    """What was asked cannot be done now; the same call may succeed later.

    `retry_after` is set where whoever refused said how long to stay away.
    """

    code = "clinical.operational"
    loudness = Loudness.OPERATIONAL
    retry_after: timedelta | None = None

    def __init__(self, message: str = "", *, retry_after: timedelta | None = None) -> None:
        """`message` carries no patient data."""
        super().__init__(message)
        if retry_after is not None:
            self.retry_after = retry_after


class NotFoundError(RejectedError):
    """Nothing has this identity."""

    code = "clinical.not_found"
