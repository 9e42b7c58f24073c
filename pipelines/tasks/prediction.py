"""J2: answer a question about a patient."""

from datetime import datetime

from clinical.audit.entry import Act
from clinical.prediction.request import Purpose
from clinical.services.messages import Message
from clinical.services.prediction import PredictionService


def predict(predictions: PredictionService, message: Message, act: Act) -> None:
    """Ask what the message says; the service settles the message in its commit."""
    as_of = message.parameters.get("as_of", "")
    predictions.make(
        message.subject_id,
        act,
        purpose=Purpose(message.parameters.get("purpose", Purpose.REVIEW)),
        as_of=datetime.fromisoformat(as_of) if as_of else None,
        message=message,
    )
