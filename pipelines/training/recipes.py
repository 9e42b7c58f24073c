"""Named recipes: every choice of a training run in one value.

Knows numbers only. A recipe and a seed and the same data give the same weights on the same machine.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from clinical.errors import RejectedError
from clinical.worldmodel.config import AbstentionLimits, LossConfig, ModelConfig
from clinical.worldmodel.fitting import FitConfig
from clinical.worldmodel.learning import Corruption


class UnknownRecipeError(RejectedError):
    """No recipe has this name."""

    code = "training.unknown_recipe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is trained."""

    name: str
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    corruption: Corruption = field(default_factory=Corruption)
    vocabulary: FitConfig = field(default_factory=FitConfig)
    limits: AbstentionLimits = field(default_factory=AbstentionLimits)
    num_steps: int = 800
    patients_per_step: int = 36
    questions_per_patient: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warm_up_steps: int = 50
    max_gradient_norm: float = 1.0
    averaged_share: float = 0.3  # of the run, at its end, whose weights are averaged
    questions_per_training_patient: int = 10  # asked after training: familiarity and baselines
    questions_per_held_out_patient: int = 60  # rare windows need many questions to be calibrated
    seed: int = 0


def cpu_small() -> Recipe:
    """Two cores, about five minutes, the shipped patients (design 7.13a with the choices of 7.15)."""
    return Recipe(name="cpu-small")


def icu_small() -> Recipe:
    """Two cores, some minutes, the stays of the 2012 challenge: a clock of hours, the next day in quarters."""
    hours = ((0.0, 6.0), (6.0, 12.0), (12.0, 18.0), (18.0, 24.0))
    return Recipe(
        name="icu-small",
        model=ModelConfig(
            windows_days=tuple((start / 24, end / 24) for start, end in hours),
            clock_days=1 / 24,
            says_family_risks=False,
        ),
        vocabulary=FitConfig(max_numeric=40),
        num_steps=720,
        patients_per_step=128,
        questions_per_patient=2,
        questions_per_training_patient=1,
        questions_per_held_out_patient=2,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"cpu-small": cpu_small, "icu-small": icu_small}


def recipe(name: str, *, seed: int = 0, num_steps: int | None = None) -> Recipe:
    """The recipe of this name, with another seed or length where given.

    Raises:
        UnknownRecipeError: there is none.
    """
    if name not in RECIPES:
        raise UnknownRecipeError(f"there is no such recipe; known are {', '.join(RECIPES)}")
    found = replace(RECIPES[name](), seed=seed)
    return found if num_steps is None else replace(found, num_steps=num_steps)
