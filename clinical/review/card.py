"""A card that an EHR was shown of a prediction, and what its user said of it there.

A card is not a review: nobody decides anything by looking at it. What comes back is kept beside the
review of the prediction, and changes no state.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from clinical.timeline.identity import identity_of


class CardVerdict(StrEnum):
    """What became of a card; one that was ignored sends nothing."""

    ACCEPTED = "accepted"
    OVERRIDDEN = "overridden"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCard:
    """What one hook of a site was shown of a prediction, with a comparison of plans or without."""

    prediction_id: UUID
    site: str
    hook: str
    comparison_id: UUID | None = None

    @property
    def card_id(self) -> UUID:
        """The same for the same prediction, hook and comparison: what feedback names."""
        return identity_of(
            f"card|{self.site}|{self.hook}|{self.prediction_id}|{self.comparison_id}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFeedback:
    """What the user of an EHR said of a card. `reason_*` and `comment` are the sender's words."""

    card_id: UUID
    prediction_id: UUID
    verdict: CardVerdict
    given_at: datetime  # as the EHR says
    received_at: datetime
    client: str
    reason_system: str = ""
    reason_code: str = ""
    reason_display: str = ""
    comment: str = ""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what was said: the same again has the same, whenever it comes."""
        said = [
            str(self.card_id),
            self.verdict.value,
            self.given_at.isoformat(),
            self.reason_system,
            self.reason_code,
            self.reason_display,
            self.comment,
        ]
        return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()

    @property
    def feedback_id(self) -> UUID:
        """An identity that follows from what was said, so that a repetition adds nothing."""
        return identity_of(f"feedback|{self.digest}")

    @property
    def sealed_content(self) -> dict[str, str]:
        """What the audit log vouches for without telling it."""
        return {"feedback_digest": self.digest}
