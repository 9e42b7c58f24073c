"""What may never be planned for a patient: filters before any search, never penalties.

Knows the record and rules stated by the care-plan library. Each constraint has a name, so that what
was left out can be said. It finds what is coded on record; what the record does not say it cannot know.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from clinical.prediction.action import Action
from clinical.timeline.event import Event, EventKind, Phase, Standing
from clinical.timeline.quantity import Quantity
from clinical.timeline.timeline import Timeline

_MEDICATION = frozenset(
    {
        EventKind.MEDICATION_REQUEST,
        EventKind.MEDICATION_ADMINISTRATION,
        EventKind.MEDICATION_STATEMENT,
    }
)


_ENDED = frozenset({"completed", "stopped", "cancelled", "not-taken"})  # of a medication, in FHIR


class Constraint(StrEnum):
    """Why something may not be planned."""

    ALLERGY = "allergy_on_record"
    INTERACTION = "stated_interaction"
    DOSE_LIMIT = "dose_limit"
    REPEATED = "repeated_action"
    CONTRADICTORY = "contradictory_actions"
    SUPPORT_UNKNOWN = "support_unknown"  # too few patients to say how usual it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Allergen:
    """Whoever has one of `allergies` on record may not be given one of `actions` (`Code.key`s)."""

    name: str
    actions: tuple[str, ...]
    allergies: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """No code of `one` together with one of `other`: neither in a plan nor with what is on record."""

    name: str
    one: tuple[str, ...]
    other: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseLimit:
    """No more than `most` of an action at once; a dose in another unit cannot be compared."""

    action: str
    most: Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class AtMostOne:
    """Of these actions a plan holds at most one: they are alternatives."""

    name: str
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRules:
    """Every rule of a care-plan library."""

    allergens: tuple[Allergen, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    dose_limits: tuple[DoseLimit, ...] = ()
    alternatives: tuple[AtMostOne, ...] = ()

    def canonical(self) -> list[object]:
        """Plain values, for digests."""
        return [
            [[a.name, a.actions, a.allergies] for a in self.allergens],
            [[i.name, i.one, i.other] for i in self.interactions],
            [[d.action, f"{d.most.value} {d.most.unit}"] for d in self.dose_limits],
            [[a.name, a.actions] for a in self.alternatives],
        ]


@dataclass(frozen=True, slots=True)
class OnRecord:
    """What of the record the constraints look at: `Code.key`s."""

    allergies: frozenset[str]
    medications: frozenset[str]

    @classmethod
    def of(cls, timeline: Timeline) -> "OnRecord":
        """Allergies and medications on record of which no end is.

        Tentative ones count: to plan against what is suspected needs a clinician, not a search.
        """
        allergies: dict[str, bool] = {}
        medications: dict[str, bool] = {}
        for event in timeline:
            if event.kind is EventKind.ALLERGY:
                _note(allergies, event, ends=event.phase is Phase.END)
            elif event.kind in _MEDICATION:
                has_ended = event.phase is Phase.END or event.status in _ENDED
                _note(medications, event, ends=has_ended)
        return cls(
            frozenset(key for key, holds in allergies.items() if holds),
            frozenset(key for key, holds in medications.items() if holds),
        )


def _note(held: dict[str, bool], event: Event, *, ends: bool) -> None:
    if event.standing in (Standing.REFUTED, Standing.RETRACTED):
        return
    for code in (event.code, *event.other_codes):
        held[code.key] = not ends


@dataclass(frozen=True, slots=True)
class Broken:
    """A constraint that is not kept, and in a few words which rule."""

    constraint: Constraint
    detail: str


def broken(actions: Sequence[Action], record: OnRecord, rules: PlanRules) -> tuple[Broken, ...]:
    """Every constraint that these actions, taken together, do not keep; none where they may be planned."""
    keys = [action.code.key for action in actions]
    found = [
        Broken(Constraint.ALLERGY, rule.name)
        for rule in rules.allergens
        if set(keys) & set(rule.actions) and record.allergies & set(rule.allergies)
    ]
    found += [
        Broken(Constraint.ALLERGY, "the very same is on record as an allergy")
        for key in dict.fromkeys(keys)
        if key in record.allergies
    ]
    found += [
        Broken(Constraint.INTERACTION, rule.name)
        for rule in rules.interactions
        if _interact(set(keys), record.medications, rule)
    ]
    found += [
        Broken(Constraint.DOSE_LIMIT, f"more than {limit.most.value} {limit.most.unit} at once")
        for limit in rules.dose_limits
        for action in actions
        if action.code.key == limit.action and not _is_within(action.dose, limit.most)
    ]
    found += [
        Broken(Constraint.REPEATED, "the same action twice")
        for count in Counter(keys).values()
        if count > 1
    ]
    found += [
        Broken(Constraint.CONTRADICTORY, rule.name)
        for rule in rules.alternatives
        if len(set(keys) & set(rule.actions)) > 1
    ]
    return tuple(found)


def _interact(planned: set[str], on_record: frozenset[str], rule: Interaction) -> bool:
    """Whether the plan brings the two together; what only the record brings together is not its doing."""
    one, other = set(rule.one), set(rule.other)
    there = planned | on_record
    return bool((planned & one and there & other) or (planned & other and there & one))


def _is_within(dose: Quantity | None, most: Quantity) -> bool:
    if dose is None:
        return True  # the code itself says how much, or nothing is said
    return dose.is_computable and dose.unit == most.unit and dose.value <= most.value
