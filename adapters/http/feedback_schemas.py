"""What came back about cards, as a review shows it."""

from datetime import datetime
from uuid import UUID

from adapters.http.shape import Shape
from clinical.review.card import CardFeedback, CardVerdict


class CardFeedbackShape(Shape):
    """What the user of an EHR said of a card with this prediction; `client` is the EHR that sent it.

    `reason_*` and `comment` are the sender's words, empty where it said none.
    """

    feedback_id: UUID
    card_id: UUID
    verdict: CardVerdict
    given_at: datetime
    received_at: datetime
    client: str
    reason_system: str
    reason_code: str
    reason_display: str
    comment: str


def feedback_of(said: CardFeedback) -> CardFeedbackShape:
    """As it is published."""
    return CardFeedbackShape(
        feedback_id=said.feedback_id,
        card_id=said.card_id,
        verdict=said.verdict,
        given_at=said.given_at,
        received_at=said.received_at,
        client=said.client,
        reason_system=said.reason_system,
        reason_code=said.reason_code,
        reason_display=said.reason_display,
        comment=said.comment,
    )
