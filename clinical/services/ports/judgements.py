"""What clinicians are asked and decided, and what was recalled."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from clinical.review.decision import Decision
from clinical.review.recall import Findings, Recall, RecallKind, Relook, Touched, TouchedPrediction
from clinical.review.review import Review, ReviewState


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistQuery:
    """Which reviews, and where to go on. `after` is `(priority, review_id)` of the last item seen."""

    states: frozenset[ReviewState]
    claimed_by: str | None = None
    abstained: bool | None = None
    needs_relook: bool = False
    after: tuple[float, UUID] | None = None
    limit: int = 50


class Reviews(Protocol):
    """Reviews and their decisions."""

    def add(self, review: Review) -> None: ...

    def get(self, review_id: UUID) -> Review: ...

    def update(self, review: Review) -> None:
        """Store the next version; raises StaleVersionError unless the stored one is just before it."""
        ...

    def open_for(self, patient_id: UUID) -> list[Review]: ...

    def of_prediction(self, prediction_id: UUID) -> Review | None:
        """The review that the prediction was put into; None where it was overtaken."""
        ...

    def worklist(self, query: WorklistQuery) -> list[Review]:
        """Highest priority first, ties by id, at most `limit`."""
        ...

    def count(self, query: WorklistQuery) -> int: ...

    def add_decision(self, decision: Decision) -> None: ...

    def decision(self, review_id: UUID) -> Decision | None: ...

    def written_back(self, review_ids: Collection[UUID]) -> dict[UUID, str]:
        """Of those of which the EHR was told, under which id it holds that."""
        ...

    def note_written_back(self, review_id: UUID, ehr_id: str, at: datetime) -> None:
        """Remember under which id the EHR holds what it was told; the first stands."""
        ...


class Recalls(Protocol):
    """Recalls, what they find, and who is to look again. Nothing here deletes."""

    def get(self, recall_id: UUID) -> Recall: ...

    def find(self, kind: RecallKind, target: str) -> Recall | None: ...

    def add(self, recall: Recall) -> bool:
        """Store; False where this target was recalled before."""
        ...

    def num_all(self) -> int: ...

    def asked_of(
        self, patient_ids: Collection[UUID]
    ) -> list[tuple[UUID, UUID, datetime, datetime]]:
        """Patient, prediction, `as_of` and `received_by` of every prediction about these patients."""
        ...

    def findings(self, touched: Touched) -> Findings: ...

    def signed(self, touched: Touched, limit: int) -> list[TouchedPrediction]:
        """Those that somebody signed, the newest signature first."""
        ...

    def all_touched(self, touched: Touched) -> Iterator[TouchedPrediction]:
        """Every one, in the order of identity, streamed."""
        ...

    def open_reviews(self, touched: Touched, limit: int) -> list[Review]:
        """Some that are open, held until the transaction ends."""
        ...

    def ask_relooks(
        self, recall: Recall, touched: Touched, at: datetime, *, after: UUID | None, limit: int
    ) -> tuple[list[UUID], UUID | None]:
        """Mark signed reviews beyond `after`; which were not marked before, and where to go on."""
        ...

    def relooks(self, review_ids: Collection[UUID]) -> list[Relook]:
        """Every mark on these reviews, the oldest first."""
        ...

    def looked_again(self, review_id: UUID, by: str, at: datetime) -> int:
        """Answer every mark of the review that nobody has answered; how many."""
        ...

    def num_to_look_at(self) -> int:
        """How many reviews wait for another look."""
        ...
