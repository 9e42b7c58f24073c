"""What the planning API takes and gives. Output fields have no defaults, as in `schemas.py`."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from adapters.http.schemas import Estimate, Model, WithheldReason
from adapters.http.shape import Shape
from clinical.prediction.constraint import Constraint
from clinical.prediction.outcome import Risk
from clinical.prediction.plan import MAX_CHOICES, MAX_DECISIONS

Name = Annotated[str, Field(min_length=1, max_length=80)]


class PlanChoiceShape(Shape):
    """One way to take a decision; `is_plannable` where the model that serves can plan it."""

    name: str
    label: str
    is_plannable: bool


class PlanDecisionShape(Shape):
    """Something that can be decided, at one of these days after the question."""

    name: str
    label: str
    after_days: list[float]
    choices: list[PlanChoiceShape]


class GoalShape(Shape):
    """Something that can be wanted."""

    name: str
    label: str


class PlanLibraryShape(Shape):
    """What can be compared. `wording` is the sentence that stands over every course under a plan."""

    name: str
    version: str
    source: str
    wording: str
    decisions: list[PlanDecisionShape]
    goals: list[GoalShape]
    risks: list[str]


class PlanPick(Shape):
    """A decision of the library, with the names of those of its choices to compare; all where none is."""

    name: Name
    choices: Annotated[list[Name], Field(max_length=MAX_CHOICES)] = Field(default_factory=list)


class PlanWishesShape(Shape):
    """What to compare, and what is wanted: goals of the library, risks that should be low."""

    decisions: Annotated[list[PlanPick], Field(min_length=1, max_length=MAX_DECISIONS)]
    goals: Annotated[list[Name], Field(max_length=8)] = Field(default_factory=list)
    risks: Annotated[list[Risk], Field(max_length=len(Risk))] = Field(default_factory=list)


class TakenShape(Shape):
    """A decision taken one way, so many days after the question."""

    decision: str
    choice: str
    label: str
    after_days: float


class EnergyPartShape(Shape):
    """A part of an option's energy; less is better."""

    name: str
    amount: float


class PlanCourse(Shape):
    """Something wanted, over all windows, among similar patients under the plan."""

    name: str
    label: str
    unit: str
    estimates: list[Estimate]


class PlanOptionShape(Shape):
    """One plan; `taken` is empty for no change.

    Of similar patients, the share `support` had the least usual of its decisions taken, or left, so.
    """

    taken: list[TakenShape]
    energy: float
    parts: list[EnergyPartShape]
    support: float
    least_usual: str
    courses: list[PlanCourse]


class ExcludedShape(Shape):
    """A choice that no plan may hold for this patient, by which constraint."""

    label: str
    constraint: Constraint
    detail: str


class PlanComparisonShape(Shape):
    """Options, the best first, or why none is put first; with what the answer rests on."""

    comparison_id: UUID
    asked_by: str
    made_at: datetime
    as_of: datetime
    wording: str
    decisions: list[str]
    goals: list[str]
    risks: list[str]
    withheld: WithheldReason | None
    options: list[PlanOptionShape]
    excluded: list[ExcludedShape]
    num_considered: int
    input_digest: str
    config_digest: str
    output_digest: str
    model: Model


class PlanComparisonsShape(Shape):
    """What was compared for a review, the newest first."""

    comparisons: list[PlanComparisonShape]
