"""Comparing plans: what may be decided, what is wanted, and the options in order, or why there are none.

A plan is a set of decisions, each taken one way or left as it is. What is said of one is the expected
course among similar patients under it: never an order, and never an effect. Knows no search and no
model; what may never be planned is in `constraint.py`.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from clinical.errors import RejectedError
from clinical.prediction.abstention import Abstention
from clinical.prediction.action import Action
from clinical.prediction.constraint import Constraint, PlanRules
from clinical.prediction.outcome import Risk
from clinical.prediction.prediction import Capsule
from clinical.prediction.readout import Readout
from clinical.timeline.code import Code

MAX_DECISIONS = 6
MAX_CHOICES = 8
MAX_MOMENTS = 4
PLANNABLE_RISKS = (Risk.EMERGENCY, Risk.INPATIENT, Risk.NEW_CONDITION, Risk.DEATH)
"""Those that a model may foretell under a plan; others are read from the state, whatever is planned."""
COURSE_UNDER_PLAN = "Expected course among similar patients under this plan."
NO_CHANGE = "No change"


class MalformedPlanQuestionError(RejectedError):
    """Too many or too few decisions, one of them twice, or nothing that is wanted."""

    code = "plan.malformed_question"


class UnknownPlanActionError(RejectedError):
    """The model that serves never learned these actions; the message names them."""

    code = "plan.unknown_action"


class UnusableGoalError(RejectedError):
    """The model that serves does not foretell these quantities in these units; the message names them."""

    code = "plan.unusable_goal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The values of `code` are wanted within `[low, high]`, in `unit` (UCUM); None where any will do."""

    name: str
    label: str
    code: Code
    unit: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        low, high = self.low, self.high
        if (low is None and high is None) or (low is not None and high is not None and low > high):
            raise MalformedPlanQuestionError("a goal has a bound, and its bounds are in order")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanChoice:
    """One way to take a decision; `actions` count their delay from the moment it is taken."""

    name: str
    label: str
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDecision:
    """Something to be decided: one of `choices`, at one of `moments` after the question, or no change."""

    name: str
    label: str
    choices: tuple[PlanChoice, ...]
    moments: tuple[timedelta, ...] = (timedelta(0),)

    def __post_init__(self) -> None:
        names = {choice.name for choice in self.choices}
        if not 1 <= len(self.choices) <= MAX_CHOICES or len(names) != len(self.choices):
            raise MalformedPlanQuestionError("a decision has some choices, each of them once")
        if not 1 <= len(self.moments) <= MAX_MOMENTS or min(self.moments) < timedelta(0):
            raise MalformedPlanQuestionError(
                "a decision is taken at some moments, none of them past"
            )
        if not all(choice.actions for choice in self.choices):
            raise MalformedPlanQuestionError("a choice is made of actions")

    def ways(self) -> tuple["Taken", ...]:
        """Every way to take it, in the order of its choices and then of its moments."""
        return tuple(
            Taken(
                decision=self.name,
                decision_label=self.label,
                choice=choice.name,
                label=choice.label,
                after=moment,
                actions=tuple(replace(a, after=moment + a.after) for a in choice.actions),
            )
            for choice in self.choices
            for moment in sorted(set(self.moments))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A decision taken one way: `actions` count their delay from the question."""

    decision: str
    decision_label: str
    choice: str
    label: str
    after: timedelta
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanQuestion:
    """Which of these plans comes nearest to the goals; asked again it gives the same answer.

    `risks` are those that should be low. Goals and risks count alike.
    """

    comparison_id: UUID
    patient_id: UUID
    as_of: datetime
    received_by: datetime
    decisions: tuple[PlanDecision, ...]
    goals: tuple[Goal, ...] = ()
    risks: tuple[Risk, ...] = ()
    rules: PlanRules = field(default_factory=PlanRules)
    num_options: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for what, names in (
            ("decisions", [decision.name for decision in self.decisions]),
            ("goals", [goal.code.key for goal in self.goals]),
            ("risks", list(self.risks)),
        ):
            if len(names) != len(set(names)):
                raise MalformedPlanQuestionError(f"the {what} are each to be named once")
        if not 1 <= len(self.decisions) <= MAX_DECISIONS:
            raise MalformedPlanQuestionError(f"one to {MAX_DECISIONS} decisions can be compared")
        if not self.goals and not self.risks:
            raise MalformedPlanQuestionError("say what is wanted: a goal, or a risk to be low")
        if not set(self.risks) <= set(PLANNABLE_RISKS):
            raise MalformedPlanQuestionError("a risk of these is foretold whatever is planned")
        if not 1 <= self.num_options <= 10:
            raise MalformedPlanQuestionError("one to ten options can be asked for")

    @property
    def config_digest(self) -> str:
        """Hex SHA-256 of what was asked apart from whom and when."""
        asked = [
            [[d.name, d.label, [_way(way) for way in d.ways()]] for d in self.decisions],
            [[g.name, g.label, g.code.key, g.unit, g.low, g.high] for g in self.goals],
            [str(risk) for risk in self.risks],
            self.rules.canonical(),
            self.num_options,
            self.seed,
        ]
        return hashlib.sha256(json.dumps(asked, separators=(",", ":")).encode()).hexdigest()


def _way(way: Taken) -> list[object]:
    actions = [
        [
            a.kind,
            a.code.key,
            a.after.total_seconds(),
            f"{a.dose.value} {a.dose.unit}" if a.dose else "",
            a.phase,
        ]
        for a in way.actions
    ]
    return [way.choice, way.label, actions]


@dataclass(frozen=True, slots=True)
class EnergyPart:
    """One part of a plan's energy; less is better."""

    name: str
    amount: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOption:
    """One plan: `taken` is empty for no change.

    The energy is the sum of its parts. `support` is how usual the least usual of its decisions is:
    the calibrated share, among similar patients, for whom it was taken or left so.
    """

    taken: tuple[Taken, ...]
    energy: float
    parts: tuple[EnergyPart, ...]
    support: float
    least_usual: str
    readouts: tuple[Readout, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """A choice that no plan may hold for this patient, and the constraint that forbids it."""

    decision: str
    choice: str
    label: str
    constraint: Constraint
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanComparison:
    """The options, the best first, or one abstention; `num_considered` plans were costed."""

    options: tuple[PlanOption, ...]
    excluded: tuple[Excluded, ...]
    abstention: Abstention | None
    num_considered: int
    capsule: Capsule

    @property
    def output_digest(self) -> str:
        """Hex SHA-256 of every option and number said: equal digests, equal answers."""
        said: list[object] = [
            [
                [[t.decision, t.choice, t.after.total_seconds()] for t in option.taken],
                float(option.energy).hex(),
                [[part.name, float(part.amount).hex()] for part in option.parts],
                [float(option.support).hex(), option.least_usual],
                [
                    [r.name, r.horizon.label, *(float(n).hex() for n in _numbers(r))]
                    for r in option.readouts
                ],
            ]
            for option in self.options
        ]
        said.append([[e.decision, e.choice, e.constraint, e.detail] for e in self.excluded])
        said.append(self.abstention.reason if self.abstention else "")
        return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


def _numbers(readout: Readout) -> list[float]:
    said = [] if readout.estimate is None else [readout.estimate]
    return said + [bound for i in readout.intervals for bound in (i.low, i.high)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredComparison:
    """A comparison as it was asked for, by whom, about which review, and when it was answered."""

    question: PlanQuestion
    comparison: PlanComparison
    review_id: UUID
    asked_by: str
    made_at: datetime

    @property
    def sealed_content(self) -> dict[str, str]:
        """What the audit log vouches for without telling it: digests of what came in and went out."""
        return {
            "input": self.comparison.capsule.input_digest,
            "output": self.comparison.output_digest,
            "capsule": self.comparison.capsule.digest,
        }
