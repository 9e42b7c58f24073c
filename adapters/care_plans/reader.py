"""Reads a care-plan library from TOML, and refuses one that says what it cannot mean.

Knows the file's words. An entry that is not understood is never left out: the whole file is refused.
"""

import tomllib
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from clinical.errors import ClinicalError, RejectedError
from clinical.prediction.action import Action
from clinical.prediction.constraint import Allergen, AtMostOne, DoseLimit, Interaction, PlanRules
from clinical.prediction.library import CareLibrary
from clinical.prediction.plan import Goal, PlanChoice, PlanDecision
from clinical.timeline.code import Code
from clinical.timeline.event import EventKind
from clinical.timeline.quantity import Quantity

SHIPPED = Path(__file__).with_name("library.toml")


class MalformedLibraryError(RejectedError):
    """The file is no care-plan library."""

    code = "library.malformed"


class _Action(msgspec.Struct, forbid_unknown_fields=True):
    kind: EventKind
    code: str
    display: str
    after_days: float = 0
    dose: str = ""


class _Choice(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    label: str
    actions: list[_Action]


class _Decision(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    label: str
    moments_days: list[float]
    choice: list[_Choice]


class _Goal(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    label: str
    code: str
    display: str
    unit: str
    low: float | None = None
    high: float | None = None


class _Allergen(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    actions: tuple[str, ...]
    allergies: tuple[str, ...]


class _Interaction(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    one: tuple[str, ...]
    other: tuple[str, ...]


class _DoseLimit(msgspec.Struct, forbid_unknown_fields=True):
    action: str
    most: str


class _AtMostOne(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    actions: tuple[str, ...]


class _Library(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    version: str
    source: str
    decision: list[_Decision]
    goal: list[_Goal]
    allergen: list[_Allergen] = []
    interaction: list[_Interaction] = []
    dose_limit: list[_DoseLimit] = []
    at_most_one: list[_AtMostOne] = []


def read_library(path: Path = SHIPPED) -> CareLibrary:
    """The library in this file.

    Raises:
        MalformedLibraryError: the file cannot be read, or says what it cannot mean.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return _library(msgspec.convert(values, _Library))
    except (OSError, ValueError, ArithmeticError, msgspec.ValidationError, ClinicalError) as error:
        raise MalformedLibraryError(f"{path.name} is no care-plan library: {error}") from error


def _library(stated: _Library) -> CareLibrary:
    decisions = tuple(_decision(each) for each in stated.decision)
    goals = tuple(_goal(each) for each in stated.goal)
    for names in ([d.name for d in decisions], [g.name for g in goals]):
        if len(names) != len(set(names)):
            raise MalformedLibraryError("a name is used twice")
    return CareLibrary(
        name=stated.name,
        version=stated.version,
        source=" ".join(stated.source.split()),
        decisions=decisions,
        goals=goals,
        rules=_rules(stated),
    )


def _decision(stated: _Decision) -> PlanDecision:
    return PlanDecision(
        name=stated.name,
        label=stated.label,
        choices=tuple(
            PlanChoice(
                name=choice.name,
                label=choice.label,
                actions=tuple(_action(each) for each in choice.actions),
            )
            for choice in stated.choice
        ),
        moments=tuple(timedelta(days=days) for days in stated.moments_days),
    )


def _action(stated: _Action) -> Action:
    return Action(
        kind=stated.kind,
        code=_code(stated.code, stated.display),
        after=timedelta(days=stated.after_days),
        dose=_quantity(stated.dose) if stated.dose else None,
    )


def _goal(stated: _Goal) -> Goal:
    return Goal(
        name=stated.name,
        label=stated.label,
        code=_code(stated.code, stated.display),
        unit=stated.unit,
        low=stated.low,
        high=stated.high,
    )


def _rules(stated: _Library) -> PlanRules:
    return PlanRules(
        allergens=tuple(
            Allergen(name=a.name, actions=a.actions, allergies=a.allergies) for a in stated.allergen
        ),
        interactions=tuple(
            Interaction(name=i.name, one=i.one, other=i.other) for i in stated.interaction
        ),
        dose_limits=tuple(
            DoseLimit(action=d.action, most=_quantity(d.most)) for d in stated.dose_limit
        ),
        alternatives=tuple(AtMostOne(name=a.name, actions=a.actions) for a in stated.at_most_one),
    )


def _code(key: str, display: str) -> Code:
    system, _, value = key.partition("|")
    if not system or not value:
        raise MalformedLibraryError(f"{key!r} is no code: it is written system|value")
    return Code(system, value, display)


def _quantity(text: str) -> Quantity:
    value, _, unit = text.partition(" ")
    if not unit:
        raise MalformedLibraryError(f"{text!r} is no quantity: it is written with its unit")
    return Quantity(Decimal(value), unit)
