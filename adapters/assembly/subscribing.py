"""The subscriptions of the sites file, joined with the servers that keep them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

from adapters.assembly import stored
from adapters.assembly.sites import ehrs, ensure_keys, key_ring, public_keys_url, sites
from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.egress.peer import Peer
from adapters.fhir.source import FhirSource
from adapters.fhir.subscribing import FhirSubscriptions, Key
from adapters.fhir.subscription import Reader
from adapters.fhir.subscription_forms import Channel
from adapters.settings import Settings
from adapters.sites.site import Site
from adapters.sites.subscriptions import HubSignature, Subscription
from clinical.services.following import Following
from clinical.services.ports import Clock
from clinical.services.subscribing import SubscribingService
from clinical.subscription.plan import SubscriptionPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed:
    """What follows from the sites file for whoever asks EHRs: plans, and the servers to ask."""

    plans: Mapping[UUID, SubscriptionPlan]
    source: FhirSource
    server: FhirSubscriptions


@contextmanager
def subscribing(
    data_dir: Path | None = None,
) -> Iterator[tuple[SubscribingService, Mapping[Key, Subscription]]]:
    """Who subscribes at EHRs, and all that the sites file says of subscriptions, by site and name."""
    settings = Settings()
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    with stored.engine_of(settings) as engine:
        clock, identities = SystemClock(), TimeOrderedIdentities()
        known = sites(settings)
        keys = key_ring(settings, clock)
        ensure_keys(known, keys)
        servers = ehrs(known, keys, clock, public_keys_url(settings))
        peers = {name: each.peer for name, each in servers.items()}
        joined = subscribed(known, peers, clock, settings.public_url)
        service = SubscribingService(
            open_unit_of_work=unit_of_work_factory(engine),
            clock=clock,
            identities=identities,
            following=Following(identities=identities, clock=clock, plans=joined.plans),
            server=joined.server,
        )
        try:
            yield service, {(site, name): stated for site, name, stated in all_of(known)}
        finally:
            for peer in peers.values():
                peer.close()


def subscribed(
    known: Mapping[str, Site], peers: Mapping[str, Peer], clock: Clock, public_url: str
) -> Subscribed:
    """All subscriptions of all sites; `peers` are the FHIR servers of the sites that have one."""
    channels = {
        (site, name): _channel(site, name, stated, peers[site], public_url)
        for site, name, stated in all_of(known)
        if site in peers
    }
    plans = [plan_of(site, name, stated) for site, name, stated in all_of(known)]
    return Subscribed(
        plans={plan.subscription_id: plan for plan in plans},
        source=FhirSource(peers),
        server=FhirSubscriptions(channels, clock),
    )


def plan_of(site: str, name: str, stated: Subscription) -> SubscriptionPlan:
    """What the service has to know to follow it."""
    is_classic = stated.form == "classic"
    return SubscriptionPlan(
        site=site,
        name=name,
        queries=stated.queries or ((stated.topic,) if is_classic and stated.topic else ()),
        has_running_counters=stated.has_running_counters and not is_classic,
        has_unique_event_ids=stated.has_unique_event_ids,
        patience=timedelta(seconds=stated.patience_seconds),
        heartbeat=_length(stated.heartbeat_seconds),
        is_silence_usual=is_classic,
        query_pause=timedelta(seconds=stated.query_pause_seconds),
        query_overlap=timedelta(seconds=stated.query_overlap_seconds),
        query_period=_length(stated.query_period_seconds),
        lifetime=_length(stated.lifetime_seconds) if stated.is_created_here else None,
        is_ours=stated.is_created_here,
        max_reads=stated.max_reads,
        read_pause=timedelta(seconds=stated.read_pause_seconds),
    )


def reader_of(known: Mapping[str, Site], site: str, name: str) -> Reader:
    """Who reads the statuses of a subscription: references of the site's own server are followed."""
    stated = known.get(site, Site())
    base = [stated.fhir.base_url] if stated.fhir is not None else []
    subscription = stated.subscriptions.get(name)
    return Reader([*base, *(subscription.known_as if subscription is not None else ())])


def endpoint_of(site: str, name: str, stated: Subscription, public_url: str) -> str:
    """Our address of a subscription, as the EHR is to call it; empty where nobody said where we are."""
    if not public_url:
        return ""
    address = f"{public_url.rstrip('/')}/v1/fhir/{site}/subscriptions/{name}"
    proof = stated.proof
    if isinstance(proof, HubSignature) and proof.handshake_token is not None:
        return f"{address}?{urlencode({'token': proof.handshake_token.value})}"
    return address


def _channel(site: str, name: str, stated: Subscription, peer: Peer, public_url: str) -> Channel:
    return Channel(
        peer=peer,
        stated=stated,
        plan=plan_of(site, name, stated),
        endpoint=endpoint_of(site, name, stated, public_url),
        reader=Reader([peer.base_url, *stated.known_as]),
    )


def all_of(known: Mapping[str, Site]) -> list[tuple[str, str, Subscription]]:
    """Every subscription of every site, with both names."""
    return [
        (site_name, name, stated)
        for site_name, site in known.items()
        for name, stated in site.subscriptions.items()
    ]


def _length(seconds: float) -> timedelta | None:
    return timedelta(seconds=seconds) if seconds else None
