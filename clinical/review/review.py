"""The state of a review: who holds it, until when, and which moves are legal.

queued -> claimed -> signed; claimed -> queued by release or an expired lease; queued or claimed ->
superseded (a newer prediction) or withdrawn (a recall). Nothing leaves signed, superseded, withdrawn.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from clinical.errors import RejectedError

LEASE = timedelta(minutes=15)


class HeldByAnotherError(RejectedError):
    """Another clinician holds the review."""

    code = "review.held_by_another"


class NotHolderError(RejectedError):
    """Only the holder of a live claim may do this; the lease may have ended."""

    code = "review.not_holder"


class ClosedError(RejectedError):
    """The review is signed, superseded or withdrawn."""

    code = "review.closed"


class StaleVersionError(RejectedError):
    """The review has changed since the caller read it."""

    code = "review.stale_version"


class ReviewState(StrEnum):
    """Where a review stands."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    SIGNED = "signed"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"


_OPEN = frozenset({ReviewState.QUEUED, ReviewState.CLAIMED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One prediction waiting for, or given, a clinician's judgement.

    `version` rises by one with every change (the ETag of the API); `fence` with every claim, so
    that a holder whose lease ran out cannot overwrite the next one. `priority` sorts the worklist,
    highest first.
    """

    review_id: UUID
    prediction_id: UUID
    patient_id: UUID
    priority: float
    opened_at: datetime
    state: ReviewState = ReviewState.QUEUED
    version: int = 1
    fence: int = 0
    claimed_by: str | None = None
    claimed_until: datetime | None = None
    closed_at: datetime | None = None
    closed_reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether somebody may still decide."""
        return self.state in _OPEN

    def holder(self, now: datetime) -> str | None:
        """Who holds a live claim."""
        if self.state is not ReviewState.CLAIMED or self.claimed_until is None:
            return None
        return self.claimed_by if now < self.claimed_until else None

    def claim(self, who: str, now: datetime) -> "Review":
        """Take it for `LEASE`; claiming again while holding it extends the lease.

        Raises:
            ClosedError, HeldByAnotherError
        """
        self._require_open()
        holder = self.holder(now)
        if holder is not None and holder != who:
            raise HeldByAnotherError("another clinician holds this review")
        fence = self.fence if holder == who else self.fence + 1
        return self._next(
            state=ReviewState.CLAIMED, claimed_by=who, claimed_until=now + LEASE, fence=fence
        )

    def release(self, who: str, now: datetime) -> "Review":
        """Put it back in the queue; raises ClosedError, NotHolderError."""
        self._require_held(who, now)
        return self._next(state=ReviewState.QUEUED, claimed_by=None, claimed_until=None)

    def sign(self, who: str, now: datetime) -> "Review":
        """Close it with the holder's decision; raises ClosedError, NotHolderError."""
        self._require_held(who, now)
        return self._next(state=ReviewState.SIGNED, claimed_until=None, closed_at=now)

    def supersede(self, now: datetime, reason: str) -> "Review":
        """Close it because a newer prediction takes its place; raises ClosedError."""
        self._require_open()
        return self._next(
            state=ReviewState.SUPERSEDED, claimed_until=None, closed_at=now, closed_reason=reason
        )

    def withdraw(self, now: datetime, reason: str) -> "Review":
        """Close it because its prediction was recalled; raises ClosedError."""
        self._require_open()
        return self._next(
            state=ReviewState.WITHDRAWN, claimed_until=None, closed_at=now, closed_reason=reason
        )

    def _next(self, **changes: object) -> "Review":
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]

    def _require_open(self) -> None:
        if not self.is_open:
            raise ClosedError("the review is closed")

    def _require_held(self, who: str, now: datetime) -> None:
        self._require_open()
        if self.holder(now) != who:
            raise NotHolderError("only the holder of a live claim may do this")
