"""Cards that EHRs were shown, and what their users said of them.

Knows the tables `shown_cards` and `card_feedback`.
"""

from collections.abc import Iterable
from dataclasses import asdict
from uuid import UUID

from sqlalchemy import Connection, RowMapping, select
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.card_tables import card_feedback, shown_cards
from clinical.review.card import CardFeedback, CardVerdict, ShownCard


class SqlCards:
    """Implements the port `Cards` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def add(self, card: ShownCard) -> None:
        """Remember; nothing where it was shown before."""
        row = {"card_id": card.card_id, **asdict(card)}
        self._connection.execute(upsert(shown_cards).values(row).on_conflict_do_nothing())

    def find(self, card_id: UUID, site: str) -> ShownCard | None:
        """The card of this site."""
        query = select(shown_cards).where(
            shown_cards.c.card_id == card_id, shown_cards.c.site == site
        )
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        return ShownCard(**{name: value for name, value in row.items() if name != "card_id"})

    def add_feedback(self, feedback: CardFeedback) -> bool:
        """Store; False where the same was said before."""
        row = {"feedback_id": feedback.feedback_id, **asdict(feedback)}
        added = self._connection.execute(
            upsert(card_feedback)
            .values(row)
            .on_conflict_do_nothing()
            .returning(card_feedback.c.feedback_id)
        ).scalar()
        return added is not None

    def feedback(self, prediction_id: UUID) -> list[CardFeedback]:
        """What was said of every card about the prediction, the oldest first."""
        query = (
            select(card_feedback)
            .where(card_feedback.c.prediction_id == prediction_id)
            .order_by(card_feedback.c.given_at, card_feedback.c.feedback_id)
        )
        return [_feedback(row) for row in self._connection.execute(query).mappings()]

    def held(self, feedback_ids: Iterable[UUID]) -> list[CardFeedback]:
        """Those that are stored, in no order."""
        query = select(card_feedback).where(card_feedback.c.feedback_id.in_(feedback_ids))
        return [_feedback(row) for row in self._connection.execute(query).mappings()]


def _feedback(row: RowMapping) -> CardFeedback:
    fields = {name: value for name, value in row.items() if name != "feedback_id"}
    return CardFeedback(**{**fields, "verdict": CardVerdict(row["verdict"])})
