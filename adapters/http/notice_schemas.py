"""What the API says of stopped models, recalls, and signed reviews that need another look.

Output fields have no defaults, as in `schemas.py`.
"""

from datetime import datetime
from enum import StrEnum

from adapters.http.shape import Shape
from clinical.prediction.registry import Concern
from clinical.review.recall import RecallKind


class WarningKind(StrEnum):
    """What a reader must know before relying on a prediction."""

    MODEL_STOPPED = "model_stopped"
    RECALLED = "recalled"
    STALE = "stale"
    NEEDS_ANOTHER_LOOK = "needs_another_look"
    LOOKED_AGAIN = "looked_again"


class WarningShape(Shape):
    """A warning, with who caused it, when and why; `recalled` where a recall did.

    Nobody caused that something is stale: `by` is empty, and `note` is the reason in a word.
    """

    kind: WarningKind
    at: datetime
    by: str
    concern: Concern
    note: str
    recalled: RecallKind | None


class StoppedModel(Shape):
    """A model that answers no more."""

    name: str
    version: str
    manifest_digest: str
    at: datetime
    by: str
    concern: Concern
    note: str


class Notices(Shape):
    """What everybody at the page must know now; `stamp` changes when any warning may have changed.

    `stopped` are the stopped models that open reviews rest on, or all where no model is promoted.
    """

    stamp: str
    stopped: list[StoppedModel]
    num_predictions_held_up: int
    num_to_look_at: int
