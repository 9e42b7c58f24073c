"""A care-plan library: what may be compared, what may be wanted, and what may never be planned.

Knows a library as values and how a clinician's selection becomes part of a question. Does not know
where it is kept, nor which of its actions a model has learned.
"""

from dataclasses import dataclass, replace

from clinical.errors import RejectedError
from clinical.prediction.constraint import PlanRules
from clinical.prediction.outcome import Risk
from clinical.prediction.plan import Goal, PlanDecision


class NotInLibraryError(RejectedError):
    """The care-plan library holds no decision, choice or goal of this name."""

    code = "plan.not_in_library"


@dataclass(frozen=True, slots=True, kw_only=True)
class CareLibrary:
    """`source` says where its entries come from, for whoever reads a comparison later."""

    name: str
    version: str
    source: str
    decisions: tuple[PlanDecision, ...]
    goals: tuple[Goal, ...]
    rules: PlanRules

    @property
    def actions(self) -> tuple[str, ...]:
        """The `Code.key` of every action in it, each once."""
        keys = (a.code.key for d in self.decisions for c in d.choices for a in c.actions)
        return tuple(dict.fromkeys(keys))

    def decision(self, name: str, choices: tuple[str, ...] = ()) -> PlanDecision:
        """The decision of this name with these of its choices, all where none is named.

        Raises:
            NotInLibraryError
        """
        found = {decision.name: decision for decision in self.decisions}.get(name)
        if found is None:
            raise NotInLibraryError("the library holds no decision of this name")
        if not set(choices) <= {choice.name for choice in found.choices}:
            raise NotInLibraryError("the decision has no choice of this name")
        kept = tuple(c for c in found.choices if not choices or c.name in choices)
        return replace(found, choices=kept)

    def goal(self, name: str) -> Goal:
        """The goal of this name; raises NotInLibraryError."""
        found = {goal.name: goal for goal in self.goals}.get(name)
        if found is None:
            raise NotInLibraryError("the library holds no goal of this name")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWishes:
    """What a clinician picked: decisions with the names of their choices, goals, risks to be low."""

    decisions: tuple[tuple[str, tuple[str, ...]], ...]
    goals: tuple[str, ...] = ()
    risks: tuple[Risk, ...] = ()
