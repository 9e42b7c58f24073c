"""The arms of ablations A, B, F and G: one recipe, one choice changed at a time.

Knows recipes only. All else (seed, steps, patients, order of lessons) is the same in every arm.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from clinical.worldmodel.config import Regulariser, Target, Teacher
from pipelines.training.recipes import Recipe


@dataclass(frozen=True, slots=True)
class Arm:
    """A change of the recipe; `ablation` is its letter in the design, `what` says it in words."""

    name: str
    ablation: str
    what: str
    change: Callable[[Recipe], Recipe]


def _model(**fields: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, model=replace(recipe.model, **fields))


def _loss(**fields: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, loss=replace(recipe.loss, **fields))


def _ema(recipe: Recipe) -> Recipe:
    return _loss(kind=Regulariser.NONE)(_model(teacher=Teacher.EMA)(recipe))


BASE = Arm(
    "base", "", "future windows, SIGReg, inverse dynamics, grounding into the encoder", _loss()
)
ARMS = (
    Arm("state", "A", "the state at a window's end as target", _model(target=Target.STATE)),
    Arm("both", "A", "window and state as targets", _model(target=Target.BOTH)),
    Arm("subspace", "B", "SIGReg inside subspaces", _loss(kind=Regulariser.SUBSPACE)),
    Arm("ema", "B", "a slow copy's targets, no regulariser", _ema),
    # Half and half weighs VICReg's terms as its authors do: 25 to 25 to 1.
    Arm("vicreg", "B", "VICReg", _loss(kind=Regulariser.VICREG, regulariser=0.5)),
    Arm("none", "B", "no regulariser", _loss(kind=Regulariser.NONE)),
    Arm("no_inverse", "F", "no inverse dynamics", _loss(inverse=0.0)),
    Arm("cut", "G", "grounding teaches the readouts alone", _loss(grounds_encoder=False)),
)
