"""Subscriptions: ask the EHR for what is due, and look now and then for what became due.

Knows moments. What is due is told by the state of each subscription, in the database.
"""

import time
from collections.abc import Callable

from adapters import telemetry
from clinical.audit.entry import Act
from clinical.services.messages import Message
from clinical.services.subscription import SubscriptionService

_SWEEP_SECONDS = 2.0
_LOG = telemetry.logger(__name__)


def fetch(subscriptions: SubscriptionService, message: Message, act: Act) -> None:
    """Ask for what is due of the subscription that the message names; the service settles it."""
    subscriptions.fetch(message.subject_id, act, message=message)


class Sweeper:
    """One for each relay."""

    def __init__(
        self, service: SubscriptionService, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        """`elapsed` is in seconds."""
        self._service = service
        self._elapsed = elapsed
        self._swept_at = float("-inf")

    def turn(self) -> None:
        """Look, if it is time to."""
        now = self._elapsed()
        if now - self._swept_at < _SWEEP_SECONDS:
            return
        self._swept_at = now
        if num_owed := self._service.sweep():
            _LOG.info("subscriptions have something due", num_owed=num_owed)
