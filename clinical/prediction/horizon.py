"""How far ahead a prediction looks."""

from dataclasses import dataclass
from datetime import timedelta

from clinical.errors import RejectedError


class ImpossibleHorizonError(RejectedError):
    """The window is empty, begins before the question, or has no end where one is needed."""

    code = "prediction.impossible_horizon"


@dataclass(frozen=True, slots=True)
class Horizon:
    """The window `(as_of + start, as_of + end]` that a prediction speaks of.

    `end` None: until the patient leaves the hospital, alive or dead, whenever that is.
    """

    start: timedelta
    end: timedelta | None

    def __post_init__(self) -> None:
        is_empty = self.end is not None and self.end <= self.start
        if self.start < timedelta(0) or is_empty:
            raise ImpossibleHorizonError(
                "a horizon ends after it starts and never before the question"
            )

    @property
    def label(self) -> str:
        """E.g. `30-90 d` or `6-24 h`, hours when either bound is not whole days; `until discharge`."""
        day = timedelta(days=1)
        if self.end is None:
            after = f"after {self.start / timedelta(hours=1):g} h " if self.start else ""
            return f"{after}until discharge"
        unit, name = (
            (day, "d") if not self.start % day and not self.end % day else (timedelta(hours=1), "h")
        )
        return f"{self.start / unit:g}-{self.end / unit:g} {name}"

    @property
    def order(self) -> tuple[timedelta, timedelta]:
        """Sorts windows by their ends, of those that end together the one that begins last first."""
        return (timedelta.max if self.end is None else self.end, -self.start)


UNTIL_DISCHARGE = Horizon(timedelta(0), None)
"""From the question until the patient leaves the hospital."""
