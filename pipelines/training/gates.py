"""One sign of a model's health, and the error of a run in which a decisive one is missing.

Knows numbers, limits and words. Does not know how anything is computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clinical.errors import RejectedError


class UnhealthyModelError(RejectedError):
    """A decisive sign of health is missing: nothing was written, unless it was asked for."""

    code = "training.unhealthy_model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What was found and what would be healthy.

    `is_passed` is None where nothing is judged: the sign is only told, too few patients leave it
    undecided, or it does not apply (then nothing was found). A missing starred sign fails the run.
    """

    name: str
    found: float | None
    healthy: str
    is_passed: bool | None
    is_starred: bool = False

    @property
    def is_failed(self) -> bool:
        """Whether it is missing; a sign that is not judged is not."""
        return self.is_passed is False

    @property
    def verdict(self) -> str:
        """In a word or three."""
        if self.is_passed is not None:
            return "yes" if self.is_passed else "**no**"
        if self.found is None:
            return "does not apply"
        return "undecided" if self.is_starred else "told, not judged"

    @property
    def is_green(self) -> bool:
        """Whether it is there beyond doubt, or nothing is asked."""
        is_asked = self.is_starred and self.found is not None
        return self.is_passed or (self.is_passed is None and not is_asked)


def at_least(name: str, found: float, limit: float) -> Gate:
    """Starred: not below the limit."""
    return Gate(
        name=name, found=found, healthy=f"≥ {limit}", is_passed=found >= limit, is_starred=True
    )


def positive(name: str, found: float) -> Gate:
    """Starred: above nothing."""
    return Gate(name=name, found=found, healthy="> 0", is_passed=found > 0, is_starred=True)


def better(name: str, skill: float, most: float) -> Gate:
    """Starred: better than a baseline; undecided where it is not, but the 95 % interval spans 0.

    `most` is the upper end of that interval.
    """
    is_passed = True if skill > 0 else None if most > 0 else False
    return Gate(name=name, found=skill, healthy="> 0", is_passed=is_passed, is_starred=True)


def below(name: str, found: float, limit: float) -> Gate:
    """Judged, but not decisive: below the limit."""
    return Gate(name=name, found=found, healthy=f"< {limit}", is_passed=found < limit)


def told(name: str, found: float, healthy: str = "–") -> Gate:
    """Not judged."""
    return Gate(name=name, found=found, healthy=healthy, is_passed=None)


def without_actions(name: str) -> Gate:
    """A sign about actions, where no record holds any."""
    return Gate(
        name=name,
        found=None,
        healthy="> 0; no actions on record",
        is_passed=None,
        is_starred=True,
    )


def refuse(gates: Sequence[Gate]) -> None:
    """Raises UnhealthyModelError where a starred sign is missing."""
    missing = [gate.name for gate in gates if gate.is_starred and gate.is_failed]
    if missing:
        raise UnhealthyModelError(f"missing signs of health: {'; '.join(missing)}")
