"""The answer of a model to a question, with all that is needed to compute it again."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from clinical.prediction.abstention import Abstention
from clinical.prediction.circumstances import Computation, Received
from clinical.prediction.readout import Readout
from clinical.prediction.request import PredictionRequest
from clinical.prediction.trajectory import LatentTrajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFingerprint:
    """Which model answered: its name and version, and digests of its weights and vocabulary."""

    name: str
    version: str
    manifest_digest: str  # hex SHA-256 over the manifest, which holds all the others
    vocabulary_digest: str


class Grade(StrEnum):
    """How closely a recomputation is promised to come back under the same circumstances."""

    BITWISE = "R0"
    TOLERANCE = "R1"  # probabilities to within 0.001, and the same abstentions


@dataclass(frozen=True, slots=True, kw_only=True)
class Capsule:
    """The circumstances of a computation; equal capsules give bitwise equal output.

    A part that is None is not recorded: the answer was stored before that part was.
    """

    input_digest: str  # of the cut timeline; bare hex digits are of version 1 (Timeline.digest)
    config_digest: str
    model: ModelFingerprint
    code_version: str
    torch_version: str
    device: str  # with the number of threads, where that changes the last bits
    seed: int
    num_events: int
    computation: Computation | None = None
    received: Received | None = None  # unknown to the model: whoever asked it adds it

    @property
    def digest(self) -> str:
        """Hex SHA-256 of everything in it.

        Parts that are not recorded are left out, so that an old capsule keeps its digest.
        """
        parts = {name: part for name, part in asdict(self).items() if part is not None}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def grade(self) -> Grade:
        """What is promised of a recomputation on the same device, torch, code and shape."""
        computed = self.computation
        if computed is None or computed.is_deterministic or self.device.startswith("cpu"):
            return Grade.BITWISE
        return Grade.TOLERANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the model process answers: a trajectory and readouts, or one abstention for all.

    `familiarity` is the patient's distance from the training patients divided by the limit beyond
    which the model abstains; `unseen_code_share` is in [0, 1].
    """

    trajectory: LatentTrajectory | None
    readouts: tuple[Readout, ...]
    abstention: Abstention | None
    familiarity: float | None
    unseen_code_share: float
    capsule: Capsule

    @property
    def output_digest(self) -> str:
        """Hex SHA-256 of the latents and of every number said: equal digests, equal answers."""
        hasher = hashlib.sha256()
        if self.trajectory is not None:
            hasher.update(self.trajectory.digest.encode())
        for readout in self.readouts:
            numbers = [readout.estimate, *(b for i in readout.intervals for b in (i.low, i.high))]
            withheld = readout.abstention.reason if readout.abstention else ""
            exact = ",".join("" if n is None else float(n).hex() for n in numbers)
            hasher.update(f"{readout.name}|{readout.horizon.label}|{exact}|{withheld}\n".encode())
        if self.abstention is not None:
            hasher.update(self.abstention.reason.encode())
        return hasher.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A stored answer: the question, the forecast, and when it was made."""

    request: PredictionRequest
    forecast: Forecast
    made_at: datetime

    @property
    def is_abstained(self) -> bool:
        """Whether nothing at all was said."""
        return self.forecast.abstention is not None

    @property
    def sealed_content(self) -> dict[str, str]:
        """What the audit log vouches for without telling it: digests of what came in and went out."""
        return {
            "input": self.forecast.capsule.input_digest,
            "output": self.forecast.output_digest,
            "capsule": self.forecast.capsule.digest,
        }
