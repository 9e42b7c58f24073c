"""The predicted course of the patient in the model's own space."""

import hashlib
from dataclasses import dataclass

from clinical.errors import ClinicalError
from clinical.prediction.horizon import Horizon


class MalformedTrajectoryError(ClinicalError):
    """The bytes do not fit the stated shape: the model process is wrong."""

    code = "prediction.malformed_trajectory"


@dataclass(frozen=True, slots=True)
class LatentTrajectory:
    """One latent per horizon: `data` is little-endian float32, row-major, `[K horizons, L latent]`.

    `state` is the latent state at the cut, `[S]` float32: what similar-patient search compares.
    `spread` is, per horizon, the root-mean-square disagreement of the predictor heads: what more
    patients would settle. `noise`, empty where a model does not say it, is the root mean square that
    the heads expect to miss the latent by: what the past does not determine.
    """

    horizons: tuple[Horizon, ...]
    width: int
    data: bytes
    spread: tuple[float, ...]
    state: bytes = b""
    noise: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.data) != 4 * self.width * len(self.horizons):
            raise MalformedTrajectoryError("the latent bytes do not fit the stated shape")
        if len(self.spread) != len(self.horizons):
            raise MalformedTrajectoryError("one spread is needed for each horizon")
        if len(self.noise) not in {0, len(self.horizons)}:
            raise MalformedTrajectoryError("one noise is needed for each horizon, or none at all")

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the latents and the state."""
        return hashlib.sha256(self.data + self.state).hexdigest()
