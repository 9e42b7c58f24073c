"""How far ahead a prediction looks."""

from dataclasses import dataclass
from datetime import timedelta

from clinical.errors import RejectedError


class ImpossibleHorizonError(RejectedError):
    """The window is empty, or begins before the question."""

    code = "prediction.impossible_horizon"


@dataclass(frozen=True, slots=True, order=True)
class Horizon:
    """The window `(as_of + start, as_of + end]` that a prediction speaks of."""

    start: timedelta
    end: timedelta

    def __post_init__(self) -> None:
        if self.start < timedelta(0) or self.end <= self.start:
            raise ImpossibleHorizonError(
                "a horizon ends after it starts and never before the question"
            )

    @property
    def label(self) -> str:
        """E.g. `30-90 d` or `6-24 h`: hours when either bound is not whole days."""
        day = timedelta(days=1)
        unit, name = (
            (day, "d") if not self.start % day and not self.end % day else (timedelta(hours=1), "h")
        )
        return f"{self.start / unit:g}-{self.end / unit:g} {name}"
