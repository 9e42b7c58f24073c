"""The choices that make a model: its sizes, its horizons, and when it must decline to answer.

Knows numbers only. Frozen: a trained model is what its configuration says.
"""

from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from enum import StrEnum
from typing import Any

from clinical.prediction.horizon import Horizon

CODE_VERSION = "worldmodel/1"
"""Changes whenever the same weights would give other numbers."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Target(StrEnum):
    """What is foretold of a window (ablation A of the design; all but the first are for comparison)."""

    WINDOW = "window"
    """What happens inside it, seen without any of the past."""
    STATE = "state"
    """The state at its end, which holds the past as well: much of it can be foretold by copying."""
    BOTH = "both"


class Teacher(StrEnum):
    """Whose latents are the targets (ablation B)."""

    ONLINE = "online"
    """The network's own, and gradients go through them."""
    EMA = "ema"
    """A slowly following copy's, without gradients."""


class Regulariser(StrEnum):
    """What keeps latents from collapsing (ablation B)."""

    SIGREG = "sigreg"
    SUBSPACE = "subspace"
    VICREG = "vicreg"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Sizes and horizons of the network; `windows_days` are the windows that it is trained on."""

    width: int = 64
    latent: int = 32
    num_layers: int = 2
    num_predictor_layers: int = 2
    predictor_width: int | None = None  # of its tokens; None: that of a latent
    num_attention_heads: int = 4
    num_heads: int = 4
    num_bundle_queries: int = 2
    num_window_queries: int = 2
    num_buckets: int = 1024
    max_actions: int = 16
    dropout: float = 0.1
    projector_width: int = 256
    compared_width: int | None = None
    """Of the space in which latents are compared and kept Gaussian; None: that of a latent. No wider
    than what the data vary in: a Gaussian cannot fill the rest."""
    windows_days: tuple[tuple[float, float], ...] = (
        (0.0, 7.0),
        (7.0, 30.0),
        (30.0, 90.0),
        (90.0, 365.0),
    )
    """One after the other, without gaps, from the question on."""
    clock_days: float = 1.0
    """The unit of the model's clock: what a day is to years of outpatient life, an hour is to a stay
    in intensive care. Gaps, delays, ages of values and rates are counted in it."""
    has_hazards: bool = False
    """Whether risks are read from hazards of the first happening, which compete with death, instead
    of from one intensity per window."""
    num_hazard_bins: int = 12
    hazard_rank: int = 32
    can_compose: bool = False
    """Whether windows that end within twice the trained reach are foretold in two steps."""
    has_variance: bool = False
    """Whether each head also says how far the latent will lie from what it foretells."""
    target: Target = Target.WINDOW
    teacher: Teacher = Teacher.ONLINE
    says_family_risks: bool = True
    """Whether the risks of `families.FORETOLD` are said. Visits and new diagnoses belong to outpatient
    life: a model of intensive care says nothing of them, rather than noise."""
    means_of: tuple[str, ...] = ()
    """Keys of the series whose expected value is said beside their quantiles."""
    ranks_values: bool = False
    """Whether the state sees running values as deciles rather than standard deviations: see `deciles`."""
    grounds_latents: bool = False
    """Whether the foretold latents must also say by themselves what will be measured: see `direct`."""
    weighs_horizons: bool = False
    """Whether the latent error of each trained window is counted in units of its persistence error."""

    @property
    def num_compared(self) -> int:
        """The width of the space in which latents are compared."""
        return self.latent if self.compared_width is None else self.compared_width

    @property
    def reach_days(self) -> float:
        """The furthest day of which the model speaks."""
        return self.windows_days[-1][1] * (2 if self.can_compose else 1)

    @property
    def horizons(self) -> tuple[Horizon, ...]:
        """The trained windows, nearest first."""
        return tuple(Horizon(timedelta(days=s), timedelta(days=e)) for s, e in self.windows_days)

    @property
    def whole(self) -> Horizon:
        """From the question to the end of the last trained window."""
        return Horizon(timedelta(0), timedelta(days=self.windows_days[-1][1]))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ModelConfig":
        """The configuration that `to_json` wrote; raises TypeError for unknown names."""
        windows = tuple((float(s), float(e)) for s, e in values["windows_days"])
        target, teacher = values.get("target", "window"), values.get("teacher", "online")
        chosen = {"target": Target(target), "teacher": Teacher(teacher), "windows_days": windows}
        means_of = tuple(values.get("means_of", ()))
        return cls(**{**values, **chosen, "means_of": means_of})


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Weights of the training objective; design section 7.5 with the grounding weight of 7.15."""

    latent: float = 1.0
    """Of the latent loss as a whole: 0 leaves the grounding losses alone."""
    regulariser: float = 0.2
    kind: Regulariser = Regulariser.SIGREG
    is_by_horizon: bool = False
    """Whether each window of the question that has enough rows is regularised for itself."""
    min_horizon_rows: int = 256
    is_one_per_patient: bool = False
    """Whether a statistic sees one window of each patient, or one of each question."""
    num_subspaces: int = 4
    subspace_width: int = 16
    covariance: float = 0.04  # of VICReg, beside its variance term
    teacher_decay: float = 0.99
    grounds_encoder: bool = True
    """Whether the grounding losses teach the encoder, or the readouts alone (ablation G)."""
    grounding: float = 4.0
    means: float = 1.0  # of the squared error, where a model has means
    inverse: float = 0.1
    rollout: float = 0.5  # of the second step, where a model can compose
    variance: float = 0.1  # of the likelihood of the latents, where a model has variances
    variance_beta: float = 0.5
    num_directions: int = 64
    num_knots: int = 17
    knot_limit: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstentionLimits:
    """Beyond which the model declines to answer."""

    min_events: int = 5
    max_unseen_code_share: float = 0.3
    max_familiarity: float = 1.0
    max_head_range: float = 0.3  # of a calibrated probability, over the heads
    max_head_share: float = 0.5  # of a quantity's 90 % interval that the heads' medians span
    max_width_ratio: float = 1.5  # of a quantity's 90 % interval to that of the training patients
    min_patients: int = 15  # calibration patients behind an interval
    min_outcomes: int = 8  # calibration patients with, and without, the outcome
    min_support: float = (
        0.02  # of similar patients, for whom each decision of the best plan was taken
    )

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "AbstentionLimits":
        """The limits that `to_json` wrote; names that are not known are refused."""
        known = {field.name for field in fields(cls)}
        if unknown := set(values) - known:
            raise TypeError(f"unknown limits: {sorted(unknown)}")
        return cls(**values)
