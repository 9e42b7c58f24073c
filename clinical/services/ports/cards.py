"""Cards that EHRs were shown, and what their users said of them."""

from typing import Protocol
from uuid import UUID

from clinical.review.card import CardFeedback, ShownCard


class Cards(Protocol):
    """Cards and their feedback."""

    def add(self, card: ShownCard) -> None:
        """Remember; nothing where it was shown before."""
        ...

    def find(self, card_id: UUID, site: str) -> ShownCard | None:
        """The card of this site."""
        ...

    def add_feedback(self, feedback: CardFeedback) -> bool:
        """Store; False where the same was said before."""
        ...

    def feedback(self, prediction_id: UUID) -> list[CardFeedback]:
        """What was said of every card about the prediction, the oldest first."""
        ...
