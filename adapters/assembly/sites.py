"""The sites of this service, and the outside systems that belong to them, ready to be called."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import msgspec

from adapters.egress.breaker import CircuitBreaker
from adapters.egress.keys import KeyRing
from adapters.egress.peer import Authorize, Bounds, Peer
from adapters.egress.tokens import BearerTokens, Client, FixedHeader
from adapters.fhir.client import Ehr
from adapters.settings import Settings
from adapters.sites.file import read_sites
from adapters.sites.peers import Auth, Breaker, Fhir, HeaderToken, SmartBackend
from adapters.sites.secret import Secret
from adapters.sites.site import Site
from clinical.services.ports import Clock


def sites(settings: Settings) -> dict[str, Site]:
    """Every site by name: those of the file, with the secrets that the environment adds.

    Raises:
        MalformedSitesFileError
    """
    known = read_sites(settings.sites_file) if settings.sites_file is not None else {}
    for name, added in settings.webhook_secrets.items():
        site = known.get(name, Site())
        secrets = (*site.webhook_secrets, *(Secret(each.get_secret_value()) for each in added))
        known[name] = msgspec.structs.replace(site, webhook_secrets=secrets)
    for name, added in settings.nabla_connect_secrets.items():
        site = known.get(name, Site())
        secrets = (
            *site.nabla_connect_secrets,
            *(Secret(each.get_secret_value()) for each in added),
        )
        known[name] = msgspec.structs.replace(site, nabla_connect_secrets=secrets)
    return known


def writing_back(known: Mapping[str, Site]) -> frozenset[str]:
    """The sites whose EHR is told what was decided."""
    return frozenset(
        name for name, site in known.items() if site.fhir is not None and site.write_back.is_on
    )


def ehrs(known: Mapping[str, Site], keys: KeyRing, clock: Clock, jku: str = "") -> dict[str, Ehr]:
    """Every site's FHIR server, with what it is to be told."""
    return {
        name: Ehr(fhir_peer(site.fhir, keys, clock, jku=jku), site.write_back)
        for name, site in known.items()
        if site.fhir is not None
    }


def ensure_keys(known: Mapping[str, Site], keys: KeyRing) -> None:
    """Make the first key of every kind that some site needs."""
    for site in known.values():
        if site.fhir is not None and isinstance(site.fhir.auth, SmartBackend):
            keys.ensure(site.fhir.auth.algorithm)


def public_keys_url(settings: Settings) -> str:
    """Where others find our public keys; empty where nobody said where we are reached."""
    return f"{settings.public_url.rstrip('/')}/.well-known/jwks.json" if settings.public_url else ""


def key_ring(settings: Settings, clock: Clock) -> KeyRing:
    """The keys with which we prove who we are."""
    return KeyRing(key_folder(settings), clock)


def key_folder(settings: Settings) -> Path:
    """Where those keys lie."""
    return settings.data_dir / "secrets" / "signing_keys"


def fhir_peer(fhir: Fhir, keys: KeyRing, clock: Clock, *, jku: str = "") -> Peer:
    """The FHIR server of a site; raises ForeignAddressError where its address may not be called."""
    breaker = circuit_breaker(fhir.breaker, clock)
    open_peer = Peer(_bounds(fhir), clock, breaker)
    authorize = _authorize(fhir.auth, open_peer, keys, clock, jku)
    return Peer(_bounds(fhir), clock, breaker, authorize=authorize)


def circuit_breaker(stated: Breaker, clock: Clock) -> CircuitBreaker:
    """The breaker of one outside system."""
    return CircuitBreaker(
        clock,
        max_failures=stated.max_failures,
        pause=timedelta(seconds=stated.pause_seconds),
    )


def _bounds(fhir: Fhir) -> Bounds:
    limits = fhir.limits
    return Bounds(
        base_url=fhir.base_url,
        also=fhir.also,
        allows_plain_http=fhir.allows_plain_http,
        timeout_seconds=limits.timeout_seconds,
        max_answer_bytes=limits.max_answer_bytes,
        max_pause=timedelta(seconds=limits.max_pause_seconds),
    )


def _authorize(
    auth: Auth | None, peer: Peer, keys: KeyRing, clock: Clock, jku: str
) -> Authorize | None:
    if auth is None:
        return None
    if isinstance(auth, HeaderToken):
        return FixedHeader(auth.name, auth.value.value)
    client = Client(
        client_id=auth.client_id,
        token_url=auth.token_url,
        algorithm=auth.algorithm,
        scope=" ".join(auth.scopes),
        jku=jku if auth.sends_jku else "",
    )
    return BearerTokens(peer, client, keys.signing, clock)
