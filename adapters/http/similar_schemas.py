"""Shapes of the API of similar patients: counts and shares only, each large enough to be told."""

from adapters.http.schemas import HorizonWindow
from adapters.http.shape import Shape
from clinical.prediction.similar import Untold


class OutcomeShape(Shape):
    """Of `num_followed` to the end of the window, the share to whom it happened, with 95 % interval."""

    name: str
    horizon: HorizonWindow
    num_followed: int | None
    share: float | None
    low: float | None
    high: float | None
    untold: Untold | None


class AgeBandShape(Shape):
    """How many were of this age; None for fewer than `smallest_cell`, or where that would show."""

    label: str
    count: int | None


class SimilarShape(Shape):
    """The group of nearest patients, or why nothing is told of it (`untold`).

    `typical_distance` is the median distance of all other patients of the site, in the same units.
    """

    wording: str
    untold: Untold | None
    smallest_group: int
    smallest_cell: int
    num_patients: int
    median_distance: float | None
    typical_distance: float | None
    ages: list[AgeBandShape]
    outcomes: list[OutcomeShape]
