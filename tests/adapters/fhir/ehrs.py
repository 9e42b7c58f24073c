"""Gateways to an EHR for tests: over a transport of theirs, or to a running server."""

from datetime import timedelta
from typing import Any

import httpx

from adapters.clock import SystemClock
from adapters.egress.breaker import CircuitBreaker
from adapters.egress.peer import Bounds, Peer
from adapters.fhir.client import Ehr, FhirGateway
from adapters.sites.write_back import WriteBackChoices


def peer_at(url: str, transport: httpx.BaseTransport | None = None) -> Peer:
    """A peer that is never paused, over plain HTTP."""
    clock = SystemClock()
    breaker = CircuitBreaker(clock, max_failures=1000, pause=timedelta(seconds=30))
    return Peer(Bounds(base_url=url, allows_plain_http=True), clock, breaker, transport=transport)


def gateway_over(peer: Peer, **choices: Any) -> FhirGateway:
    """The gateway of a site `north` whose write-back is on."""
    return FhirGateway({"north": Ehr(peer, WriteBackChoices(**{"is_on": True, **choices}))})


def gateway_to(transport: httpx.BaseTransport, **choices: Any) -> FhirGateway:
    """The same over this transport."""
    return gateway_over(peer_at("http://ehr/fhir", transport), **choices)
