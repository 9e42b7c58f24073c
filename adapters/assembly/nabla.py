"""Nabla as the sites have it: who may call us, and whom we ask, ready to be used."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial

from adapters.assembly.sites import circuit_breaker, key_ring, sites
from adapters.clock import SystemClock
from adapters.egress.keys import KeyRing
from adapters.egress.peer import Authorize, Bounds, Peer
from adapters.egress.tokens import BearerTokens, Client
from adapters.http.dependencies import VerifySignature
from adapters.nabla.api import NablaApi, base_url
from adapters.nabla.coder import NablaCoder
from adapters.nabla.connect_client import ConnectClient
from adapters.nabla.core_client import CoreClient
from adapters.nabla.requests import NoteSettings
from adapters.nabla.signature import CORE_WEBHOOK, BearerCheck, SignatureCheck
from adapters.nabla.user_tokens import UserTokens
from adapters.settings import Settings
from adapters.sites.nabla import Connect, Core
from adapters.sites.site import Site
from clinical.errors import RejectedError
from clinical.services.ports import Clock


class NotSetUpError(RejectedError):
    """The site has no such product of Nabla in the sites file."""

    code = "nabla.not_set_up"


def connect_verifiers(known: Mapping[str, Site], clock: Clock) -> Mapping[str, VerifySignature]:
    """By site, for Connect's callbacks."""
    return {
        name: _connect_verifier(site, clock)
        for name, site in known.items()
        if site.nabla_connect_secrets
    }


def _connect_verifier(site: Site, clock: Clock) -> VerifySignature:
    secrets = [secret.value for secret in site.nabla_connect_secrets]
    check = SignatureCheck(secrets, clock, window=_window(site))
    if site.nabla is None or not site.nabla.accepted_bearers:
        return check
    return BearerCheck([each.value for each in site.nabla.accepted_bearers], check)


def core_verifiers(known: Mapping[str, Site], clock: Clock) -> Mapping[str, VerifySignature]:
    """By site, for Core's webhooks."""
    return {
        name: SignatureCheck(
            [secret.value for secret in site.nabla.core_webhook_secrets],
            clock,
            window=_window(site),
            prefix=CORE_WEBHOOK,
        )
        for name, site in known.items()
        if site.nabla is not None and site.nabla.core_webhook_secrets
    }


def _window(site: Site) -> timedelta:
    return timedelta(seconds=site.nabla.window_seconds if site.nabla else 60.0)


def coder(settings: Settings, known: Mapping[str, Site], clock: Clock) -> NablaCoder:
    """Who codes the notes of those sites that want it."""
    keys = key_ring(settings, clock)
    return NablaCoder(
        {
            name: core_client(name, site.nabla.region, site.nabla.core, keys, clock)
            for name, site in known.items()
            if site.nabla is not None and site.nabla.core is not None
        }
    )


def core_client(site: str, region: str, core: Core, keys: KeyRing, clock: Clock) -> CoreClient:
    """Core of one site; raises ForeignAddressError where its address may not be called."""
    base = core.base_url or base_url(region, "core/server")
    server = NablaApi(_peer(core, base, keys, clock), core.api_version, site)
    section_keys = {str(category): str(key) for category, key in core.section_keys.items()}
    note = NoteSettings(locale=core.locale, template=core.template, section_keys=section_keys)
    if not core.is_async:
        return CoreClient(server, note)
    # Users have an API of their own, beside that for servers.
    for_users = base.removesuffix("/server") + "/user"
    peer = _open_peer(core, for_users, clock, UserTokens(server, core.user_id, clock))
    return CoreClient(server, note, users=NablaApi(peer, core.api_version, site))


def connect_client_of(site: str) -> ConnectClient:
    """Connect of a site, by the settings; raises MalformedSitesFileError besides."""
    settings, clock = Settings(), SystemClock()
    return connect_client(site, sites(settings), key_ring(settings, clock), clock)


def connect_client(
    site: str, known: Mapping[str, Site], keys: KeyRing, clock: Clock
) -> ConnectClient:
    """Connect of one site.

    Raises:
        NotSetUpError, ForeignAddressError
    """
    nabla = known[site].nabla if site in known else None
    if nabla is None or nabla.connect is None:
        raise NotSetUpError("the sites file has no [sites.NAME.nabla.connect] for this site")
    base = nabla.connect.base_url or base_url(nabla.region, "connect/server")
    peer = _peer(nabla.connect, base, keys, clock)
    return ConnectClient(NablaApi(peer, nabla.connect.api_version, site))


def bearers(
    site: Site, keys: KeyRing, clock: Clock
) -> Iterator[tuple[str, Callable[[], BearerTokens]]]:
    """Each product that a site asks, with what proves to it who we are; making that may raise."""
    if site.nabla is None:
        return
    products: tuple[tuple[str, str, Connect | Core | None], ...] = (
        ("Nabla Connect", "connect/server", site.nabla.connect),
        ("Nabla Core", "core/server", site.nabla.core),
    )
    for what, path, product in products:
        if product is not None:
            base = product.base_url or base_url(site.nabla.region, path)
            yield what, partial(_tokens, product, base, keys, clock)


def _peer(product: Connect | Core, base: str, keys: KeyRing, clock: Clock) -> Peer:
    return _open_peer(product, base, clock, _tokens(product, base, keys, clock))


def _tokens(product: Connect | Core, base: str, keys: KeyRing, clock: Clock) -> BearerTokens:
    """They are asked for by JSON, at this product's own address."""
    client = Client(
        client_id=product.client_id,
        token_url=f"{base}/oauth/token",
        algorithm="RS256",
        is_form=False,
    )
    return BearerTokens(_open_peer(product, base, clock, None), client, keys.signing, clock)


def _open_peer(
    product: Connect | Core, base: str, clock: Clock, authorize: Authorize | None
) -> Peer:
    limits = product.limits
    bounds = Bounds(
        base_url=base,
        allows_plain_http=product.allows_plain_http,
        timeout_seconds=limits.timeout_seconds,
        max_answer_bytes=limits.max_answer_bytes,
        max_pause=timedelta(seconds=limits.max_pause_seconds),
    )
    return Peer(bounds, clock, circuit_breaker(product.breaker, clock), authorize=authorize)
