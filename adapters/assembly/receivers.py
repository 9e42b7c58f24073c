"""Those who are told what happens here, by the sites file, ready to be told."""

from collections.abc import Mapping
from datetime import timedelta

from adapters.assembly.sites import circuit_breaker
from adapters.egress.peer import Bounds, Peer
from adapters.receivers.receivers import Told, WebhookReceivers
from adapters.sites.site import Site
from adapters.sites.webhooks import Receiver
from clinical.audit.announced import ANNOUNCED
from clinical.audit.entry import AuditKind
from clinical.services.ports import Clock, ReceiverName


def announced(known: Mapping[str, Site]) -> frozenset[AuditKind]:
    """The kinds of audit entry that anybody wants to be told of."""
    wanted = {
        event for site in known.values() for each in site.webhooks.values() for event in each.events
    }
    return frozenset(kind for kind, type_ in ANNOUNCED.items() if type_ in wanted)


def receivers(known: Mapping[str, Site], clock: Clock) -> WebhookReceivers:
    """Every receiver of every site; raises ForeignAddressError where an address may not be called."""
    return WebhookReceivers(
        {
            ReceiverName(site, name): _told(receiver, clock)
            for site, stated in known.items()
            for name, receiver in stated.webhooks.items()
        },
        clock,
    )


def _told(receiver: Receiver, clock: Clock) -> Told:
    limits = receiver.limits
    bounds = Bounds(
        base_url=receiver.url,
        allows_plain_http=receiver.allows_plain_http,
        timeout_seconds=limits.timeout_seconds,
        max_answer_bytes=limits.max_answer_bytes,
        max_pause=timedelta(seconds=limits.max_pause_seconds),
    )
    return Told(
        url=receiver.url,
        peer=Peer(bounds, clock, circuit_breaker(receiver.breaker, clock)),
        secrets=[each.value for each in receiver.secrets],
        events=frozenset(receiver.events),
    )
