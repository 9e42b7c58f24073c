"""Plans that cannot be meant: refused by name, before any model is asked.

Knows actions and horizons. Does not know which actions a model has learned, nor what may not be
done to a patient; see `constraint.py`.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

from clinical.errors import RejectedError
from clinical.prediction.action import Action
from clinical.prediction.horizon import Horizon
from clinical.timeline.event import Phase


class ContradictoryPlanError(RejectedError):
    """An action lies in the past or beyond every horizon, or two of them cannot both be done."""

    code = "prediction.contradictory_plan"


def require_consistent(actions: Iterable[Action], horizons: Iterable[Horizon] = ()) -> None:
    """Refuse a plan that contradicts itself or the horizons it is asked for.

    Raises:
        ContradictoryPlanError: an action lies before the question or after the last horizon; one
            thing is started and stopped, or done twice, at one moment; an amount is no number.
    """
    planned, ends = tuple(actions), [horizon.end for horizon in horizons]
    if any(action.after < timedelta(0) for action in planned):
        raise ContradictoryPlanError("an action of the plan lies before the question")
    bounded = [end for end in ends if end is not None]
    if ends and len(bounded) == len(ends) and any(a.after >= max(bounded) for a in planned):
        raise ContradictoryPlanError("an action of the plan lies after the last horizon")
    if any(a.dose is not None and not a.dose.value.is_finite() for a in planned):
        raise ContradictoryPlanError("a dose of the plan is no number")
    phases: dict[tuple[object, ...], set[Phase]] = {}
    for action in planned:
        phases.setdefault(_what_and_when(action), set()).add(action.phase)
    if any(len(found) > 1 for found in phases.values()):
        raise ContradictoryPlanError("the plan starts and stops one thing at one moment")
    if any(count > 1 for count in Counter(map(_what_and_when, planned)).values()):
        raise ContradictoryPlanError("the plan does one thing twice at one moment")


def _what_and_when(action: Action) -> tuple[object, ...]:
    return (action.kind, action.code.key, action.after)
