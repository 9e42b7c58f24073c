"""What was taken back: deleted records, merged patients, predictions gone stale."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from clinical.prediction.staleness import StaleMark
from clinical.timeline.merge import Merges, MergeStatement
from clinical.timeline.versions import Record
from clinical.timeline.withdrawal import Deletion


class Retractions(Protocol):
    """Deletions, merges and marks. Nothing here is ever changed."""

    def lock(self, *, alone: bool) -> None:
        """Until the transaction ends: together with others, or `alone`, nobody recording meanwhile.

        Whoever takes records back is alone, so that no version slips in unseen beside it.
        """
        ...

    def add_deletions(self, deletions: Sequence[Deletion]) -> None: ...

    def deletions(self, records: Collection[Record]) -> list[Deletion]:
        """All that was said of deletions of these records."""
        ...

    def add_statements(self, statements: Sequence[MergeStatement]) -> list[MergeStatement]:
        """Store those not yet held; which they were."""
        ...

    def merges(self, patient_ids: Collection[UUID]) -> Merges:
        """All that was said of these patients, and of those who are linked with them, over any number of others."""
        ...

    def mark(self, marks: Sequence[StaleMark]) -> list[StaleMark]:
        """Store; which of them were new."""
        ...

    def stale(self, prediction_ids: Collection[UUID]) -> Mapping[UUID, StaleMark]:
        """The newest mark of each of these predictions that is stale."""
        ...
