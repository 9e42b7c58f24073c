"""Tells a receiver of one event, signed as Standard Webhooks says, and what its answer means.

The id of an event is that of its audit entry: the same however often, and to whomever, it is told.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from uuid import UUID

from standardwebhooks import Webhook

from adapters.egress.errors import (
    CircuitOpenError,
    OversizedAnswerError,
    PeerRefusedError,
    PeerUnavailableError,
)
from adapters.egress.peer import Peer
from clinical.audit.announced import Announcement
from clinical.services.ports import (
    Clock,
    ReceiverFailedError,
    ReceiverGoneError,
    ReceiverName,
    UnknownReceiverError,
)

PING = "ping"
_GONE = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One receiver: its address, where it may be called, the secrets that sign, what it wants."""

    url: str
    peer: Peer
    secrets: Sequence[str] = field(repr=False)
    events: frozenset[str]


class WebhookReceivers:
    """Implements the port `Receivers`."""

    def __init__(self, told: Mapping[ReceiverName, Told], clock: Clock) -> None:
        """Nobody is called yet."""
        self._told = told
        self._clock = clock

    def of(self, site: str | None, type_: str) -> list[ReceiverName]:
        """Who wants to be told of such events of a site; of None: of any."""
        return [
            name
            for name, each in self._told.items()
            if type_ in each.events and site in (None, name.site)
        ]

    def tell(self, receiver: ReceiverName, announcement: Announcement) -> None:
        """Tell once.

        Raises:
            ReceiverFailedError, ReceiverGoneError, UnknownReceiverError, CircuitOpenError
        """
        content = {
            "type": announcement.type,
            "timestamp": announcement.at.isoformat(),
            "data": {"site": receiver.site, **announcement.refs},
        }
        self._post(receiver, announcement.entry_id, content)

    def ping(self, receiver: ReceiverName, event_id: UUID) -> None:
        """Tell that we are here; raises as `tell` does."""
        now = self._clock.now().isoformat()
        content = {"type": PING, "timestamp": now, "data": {"site": receiver.site}}
        self._post(receiver, event_id, content)

    def _post(self, receiver: ReceiverName, event_id: UUID, content: Mapping[str, object]) -> None:
        told = self._told.get(receiver)
        if told is None:
            raise UnknownReceiverError("the sites file has no such receiver")
        body = json.dumps(content, separators=(",", ":"))
        try:
            # Any 2xx is a yes: what is said with it is not read.
            with told.peer.streamed(
                "POST", told.url, headers=self._signed(told, event_id, body), content=body.encode()
            ):
                return
        except CircuitOpenError:
            raise  # nothing was tried
        except PeerRefusedError as error:
            if error.status == _GONE:
                raise ReceiverGoneError("the receiver says that it is gone") from error
            raise ReceiverFailedError(str(error), status=error.status) from error
        except PeerUnavailableError as error:
            failed = ReceiverFailedError(
                str(error), status=error.status, retry_after=error.retry_after
            )
            raise failed from error
        except OversizedAnswerError as error:
            raise ReceiverFailedError(str(error)) from error

    def _signed(self, told: Told, event_id: UUID, body: str) -> dict[str, str]:
        """The three headers; the stamp is of this very try."""
        # The library takes the clock's face for UTC, whatever zone it has.
        now = self._clock.now().astimezone(UTC)
        signatures = (
            Webhook(secret).sign(msg_id=str(event_id), timestamp=now, data=body)
            for secret in told.secrets
        )
        return {
            "Content-Type": "application/json",
            "webhook-id": str(event_id),
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
