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


class TooFewRowsError(RejectedError):
    """The lessons whose gradients would be added up are each too small for the regulariser."""

    code = "training.too_few_rows"


MIN_ROWS = 512
"""Of a lesson: SIGReg is a statistic of the lesson, and adding up gradients does not make it larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How the network is taught an outcome after pretraining, where the setting tells one."""

    num_epochs: int = 7
    patients_per_step: int = 64
    learning_rate: float = 7e-4
    dropout: float = 0.3  # of the state before the outcome is read from it
    objective: float = 0.05
    """Weight of the objective of pretraining beside it: what else the state must go on to say."""
    averaged_share: float = 0.6


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
    patients_per_step: int = 36  # of each lesson, over all processes together
    lessons_per_step: int = 1
    """Whose gradients are added up; batch statistics and SIGReg are those of each lesson."""
    questions_per_patient: int = 4
    counted_windows: tuple[int, ...] = ()
    """Further windows of each question: to its 16th, 64th, … next observation."""
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warm_up_steps: int = 50
    max_gradient_norm: float = 1.0
    averaged_share: float = 0.3  # of the run, at its end, whose weights are averaged
    tuning: Tuning | None = None
    questions_per_training_patient: int = 10  # asked after training: familiarity and baselines
    questions_per_held_out_patient: int = 60  # rare windows need many questions to be calibrated
    seed: int = 0
    bfloat16_on: tuple[str, ...] = ()
    """The kinds of device on which matrix products are in bfloat16; SIGReg and the scan never are."""
    is_compiled: bool = False

    def __post_init__(self) -> None:
        rows = self.patients_per_step * self.questions_per_patient
        if self.lessons_per_step > 1 and rows < MIN_ROWS:
            raise TooFewRowsError(
                f"a lesson of {rows} questions is too few for SIGReg; {MIN_ROWS} are needed where "
                "several are added up"
            )


def cpu_small() -> Recipe:
    """Two cores, about five minutes, the shipped patients (design 7.13a with the choices of 7.15)."""
    # A state no wider than these patients fill: of 64 dimensions their states had a rank of .39.
    return Recipe(name="cpu-small", model=ModelConfig(width=40, compared_width=10))


def icu_small() -> Recipe:
    """Two cores, some minutes, the stays of the 2012 challenge: a clock of hours, the next day in quarters."""
    hours = ((0.0, 6.0), (6.0, 12.0), (12.0, 18.0), (18.0, 24.0))
    return Recipe(
        name="icu-small",
        model=ModelConfig(
            windows_days=tuple((start / 24, end / 24) for start, end in hours),
            clock_days=1 / 24,
            width=96,  # out of fold, fine-tuned: .864 where 64 came to .860
            latent=48,
            compared_width=24,  # in 48 dimensions the targets had a rank of .32
            says_family_risks=False,
            ranks_values=True,
            grounds_latents=True,
        ),
        loss=LossConfig(regulariser=0.1),
        vocabulary=FitConfig(max_numeric=40),
        # 19 of 20 stays of set-a have 66 facts by the 12th hour, the first at which death is calibrated.
        limits=AbstentionLimits(min_events=60),
        tuning=Tuning(),
        num_steps=720,
        patients_per_step=128,
        questions_per_patient=2,
        questions_per_training_patient=0,  # familiarity is fitted on the states of the outcome
        questions_per_held_out_patient=1,
    )


def gpu_10min() -> Recipe:
    """One large GPU, under ten minutes (design 7.13b): about 46 million weights.

    Sized by what was measured on an H200: some 600,000 events a second, so that 600 steps of 256
    patients of 1,500 events each take about seven minutes.
    """
    return Recipe(
        name="gpu-10min",
        model=ModelConfig(
            width=512,
            latent=128,
            num_layers=8,
            num_predictor_layers=6,
            predictor_width=384,
            num_attention_heads=6,
            projector_width=1024,
            num_buckets=8192,
        ),
        loss=LossConfig(num_directions=1024),
        num_steps=600,
        patients_per_step=256,
        learning_rate=1e-3,
        weight_decay=0.05,
        warm_up_steps=60,
        bfloat16_on=("cuda",),
    )


def multi_gpu() -> Recipe:
    """Several GPUs by `torchrun` (design 7.13c): about 240 million weights, not yet run on any.

    A lesson is split over the processes; the learning rate grew by the root of the batch.
    """
    return Recipe(
        name="multi-gpu",
        model=ModelConfig(
            width=1024,
            latent=256,
            num_layers=14,
            num_predictor_layers=8,
            predictor_width=512,
            num_attention_heads=8,
            projector_width=2048,
            num_buckets=16384,
        ),
        loss=LossConfig(num_directions=1024),
        num_steps=20_000,
        patients_per_step=1024,
        lessons_per_step=4,
        learning_rate=2e-3,
        weight_decay=0.05,
        warm_up_steps=500,
        bfloat16_on=("cuda",),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "cpu-small": cpu_small,
    "icu-small": icu_small,
    "gpu-10min": gpu_10min,
    "multi-gpu": multi_gpu,
}


def recipe(name: str, *, seed: int = 0, num_steps: int | None = None) -> Recipe:
    """The recipe of this name, with another seed or length where given.

    Raises:
        UnknownRecipeError: there is none.
    """
    if name not in RECIPES:
        raise UnknownRecipeError(f"there is no such recipe; known are {', '.join(RECIPES)}")
    found = replace(RECIPES[name](), seed=seed)
    return found if num_steps is None else replace(found, num_steps=num_steps)
