"""A possible intervention that a prediction is conditioned on."""

from dataclasses import dataclass
from datetime import timedelta

from clinical.timeline.code import Code
from clinical.timeline.event import EventKind, Phase
from clinical.timeline.quantity import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """An intervention of `kind` with `code`, done `after` the question; `dose` where it has one.

    `phase` END stops what was begun, e.g. a drug.
    """

    kind: EventKind
    code: Code
    after: timedelta
    dose: Quantity | None = None
    phase: Phase = Phase.POINT
