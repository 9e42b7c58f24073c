"""What is known of patients and what models said of them."""

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import Protocol
from uuid import UUID

from clinical.prediction.memory import PatientMemory
from clinical.prediction.plan import StoredComparison
from clinical.prediction.prediction import ModelFingerprint, Prediction
from clinical.prediction.registry import ModelStep, RegisteredModel
from clinical.prediction.request import Purpose
from clinical.prediction.similar import Neighbour
from clinical.review.recall import RecordName
from clinical.timeline.chain import Prefix
from clinical.timeline.event import Event
from clinical.timeline.patient import PatientRef
from clinical.timeline.timeline import Timeline
from clinical.timeline.versions import Record


class Timelines(Protocol):
    """Events of patients."""

    def add(self, events: Sequence[Event], patients: dict[UUID, PatientRef]) -> int:
        """Store those not yet held (by COPY); returns how many were new."""
        ...

    def of(self, patient_id: UUID, *, without: Collection[UUID] = ()) -> Timeline:
        """Everything held about a patient, and under records merged into theirs; empty where nothing is.

        What the deliveries `without` told is left out.
        """
        ...

    def versions(self, records: Set[Record]) -> list[Event]:
        """Every event held of any version of these records, whoever it is about."""
        ...

    def known(self, patient_ids: Collection[UUID]) -> frozenset[UUID]:
        """Those of whom some event is held."""
        ...

    def patient(self, patient_id: UUID) -> PatientRef: ...

    def patient_ids(self) -> Generator[UUID, None, None]:
        """Every patient ever heard of, streamed; to be closed by who does not read to the end."""
        ...

    def holders(self, record: RecordName) -> Mapping[str, Collection[UUID]]:
        """By site the patients of whom some event was read from this record."""
        ...


class Predictions(Protocol):
    """Stored answers."""

    def find(
        self,
        *,
        input_digest: str,
        config_digest: str,
        manifest_digest: str,
        purpose: Purpose,
        patient_id: UUID,
    ) -> UUID | None:
        """The prediction that answered this very question, if any."""
        ...

    def answered_until(self, patient_id: UUID, purpose: Purpose) -> datetime | None:
        """Up to which receipt the best informed answer of this purpose read; None where there is none."""
        ...

    def newest(self, patient_id: UUID, purpose: Purpose) -> Prediction | None:
        """The best informed answer of this purpose, of several the one made last."""
        ...

    def add(self, prediction: Prediction) -> bool:
        """Store; False where this very question was already answered."""
        ...

    def get(self, prediction_id: UUID) -> Prediction: ...

    def all(self) -> Iterator[Prediction]:
        """Every prediction in the order of making, streamed."""
        ...

    def ensure_model(self, model: ModelFingerprint, at: datetime) -> bool:
        """Register the model version; True where it was new."""
        ...


class Models(Protocol):
    """The model registry."""

    def find(self, manifest_digest: str) -> RegisteredModel | None: ...

    def share(self, manifest_digest: str) -> RegisteredModel | None:
        """The model as it stands until this transaction ends: nobody moves it before."""
        ...

    def hold(self, manifest_digest: str) -> RegisteredModel:
        """For who is about to move it: nobody shares it meanwhile; raises NotFoundError."""
        ...

    def named(self, named: str) -> list[RegisteredModel]:
        """Those with this name, or with a digest that begins so."""
        ...

    def all(self) -> list[RegisteredModel]:
        """The newest first."""
        ...

    def update(self, model: RegisteredModel) -> None:
        """Store the next version of a model that is held."""
        ...

    def add_step(self, step: ModelStep) -> None: ...

    def history(self, manifest_digest: str) -> list[ModelStep]:
        """Oldest first."""
        ...

    def is_undecided(self) -> bool:
        """Whether nothing was ever decided about any model; until the transaction ends nobody else asks."""
        ...

    def of_concern(self) -> list[RegisteredModel]:
        """Stopped models that open reviews rest on; all stopped ones where no model is promoted."""
        ...

    def num_steps(self) -> int:
        """How many steps all histories have together: it changes with every move."""
        ...


class Memories(Protocol):
    """What models remember of patients: a few memories each, of one model."""

    def newest(
        self, patient_id: UUID, manifest_digest: str, prefixes: Sequence[Prefix]
    ) -> PatientMemory | None:
        """The memory of this model that reaches furthest, of those at one of `prefixes`."""
        ...

    def keep(self, memories: Sequence[PatientMemory]) -> None:
        """Store memories of one patient, and let go those that lie too close to others."""
        ...


class LatentStates(Protocol):
    """The latent states behind predictions, to be compared with each other."""

    def nearest(
        self, patient_id: UUID, manifest_digest: str, state: Sequence[float], limit: int
    ) -> list[Neighbour]:
        """The nearest other patients of the same site and model, nearest first.

        Each stands at their nearest moment of those after which something more became known.
        """
        ...

    def typical_distance(
        self, patient_id: UUID, manifest_digest: str, state: Sequence[float]
    ) -> float | None:
        """The median distance of all those others; None where there is nobody."""
        ...


class PlanComparisons(Protocol):
    """Stored comparisons of plans."""

    def add(self, stored: StoredComparison) -> None: ...

    def get(self, comparison_id: UUID) -> StoredComparison:
        """The comparison; raises NotFoundError."""
        ...

    def find(
        self, review_id: UUID, *, config_digest: str, manifest_digest: str
    ) -> StoredComparison | None:
        """The newest answer of this model to this very question about the review."""
        ...

    def of_review(self, review_id: UUID, *, limit: int) -> list[StoredComparison]:
        """What was compared for a review, the newest first."""
        ...
