"""What a model remembers of the events it has read, as it is stored and sent: opaque but for its seal.

Knows whose it is, how far it reaches, which model made it, and its digest. Does not know what the
bytes mean: only the model that made them reads them.
"""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from clinical.errors import RejectedError
from clinical.prediction.prediction import Forecast
from clinical.timeline.chain import Prefix


class RefusedMemoryError(RejectedError):
    """Reading cannot go on from this memory: the timeline is to be read from its beginning."""

    code = "prediction.refused_memory"


class DamagedMemoryError(RefusedMemoryError):
    """The bytes are not those that the model gave, or not of this patient and these events."""

    code = "prediction.damaged_memory"


class ForeignMemoryError(RefusedMemoryError):
    """Another model, vocabulary, clock, code, torch or device made it: its bits would not be ours."""

    code = "prediction.foreign_memory"


class UncutQuestionError(RefusedMemoryError):
    """What follows the memory is not cut at the question, or is too little to be read again."""

    code = "prediction.uncut_question"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientMemory:
    """All that is left of the first `prefix.num_events` events of a patient for one model.

    Going on from it gives the bits that reading the whole would give.
    """

    patient_id: UUID
    manifest_digest: str
    prefix: Prefix
    code_version: str
    torch_version: str
    device: str
    data: bytes
    digest: str  # hex SHA-256 of `data`

    @property
    def is_intact(self) -> bool:
        """Whether the bytes are those that were sealed."""
        return hashlib.sha256(self.data).hexdigest() == self.digest


@dataclass(frozen=True, slots=True)
class Answered:
    """A forecast, and what its model remembers from which later readings may go on."""

    forecast: Forecast
    memories: tuple[PatientMemory, ...] = ()
