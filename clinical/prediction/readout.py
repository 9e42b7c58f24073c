"""One clinical quantity read from the latent trajectory, with its uncertainty."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from clinical.errors import ClinicalError
from clinical.prediction.abstention import Abstention
from clinical.prediction.calibration import ReliabilityBin
from clinical.prediction.horizon import Horizon
from clinical.timeline.code import Code


class UnansweredReadoutError(ClinicalError):
    """A readout must have either an estimate with an interval, or an abstention; not both."""

    code = "prediction.unanswered_readout"


class ReadoutKind(StrEnum):
    """What the estimate is."""

    PROBABILITY = "probability"
    QUANTITY = "quantity"


@dataclass(frozen=True, slots=True)
class Interval:
    """`[low, high]` said to cover `level` (e.g. 0.9)."""

    low: float
    high: float
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Readout:
    """What is said of `name` within `horizon`: an estimate with intervals, or an abstention.

    A probability's interval is over what the predictor heads say after calibration; a quantity's
    intervals are conformal quantile bands in `unit` (UCUM). `evidence` names the events on which
    the estimate leans, newest first. `reliability` is the bin of the calibration that the estimate
    falls in: "of `count` such patients, `observed` had it".
    """

    name: str
    kind: ReadoutKind
    horizon: Horizon
    code: Code | None = None
    unit: str = ""
    estimate: float | None = None
    intervals: tuple[Interval, ...] = ()
    calibration_id: str = ""
    reliability: ReliabilityBin | None = None
    evidence: tuple[UUID, ...] = ()
    abstention: Abstention | None = None

    def __post_init__(self) -> None:
        answered = self.estimate is not None and bool(self.intervals)
        if answered == (self.abstention is not None):
            raise UnansweredReadoutError(
                "a readout is either estimated with an interval or withheld"
            )
