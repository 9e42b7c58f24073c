"""What works with a site and what does not, for whoever sets it up."""

from collections.abc import Iterator
from pathlib import Path

from adapters.assembly.sites import (
    ensure_keys,
    fhir_peer,
    key_ring,
    public_keys_url,
    sites,
)
from adapters.assembly.subscribing import subscribed
from adapters.clock import SystemClock
from adapters.egress.keys import KeyRing, SigningKey
from adapters.egress.peer import Peer
from adapters.fhir import checking
from adapters.fhir.checking import Finding
from adapters.http.signatures import StandardWebhooks
from adapters.settings import Settings
from adapters.sites.peers import SmartBackend
from adapters.sites.site import Site
from clinical.errors import ClinicalError, NotFoundError
from clinical.subscription.notification import Standing


class UnknownSiteNameError(NotFoundError):
    """The sites file has no site of this name."""

    code = "sites.unknown"


def overview() -> dict[str, list[str]]:
    """By site what is on for it; raises MalformedSitesFileError."""
    return {name: _parts(site) for name, site in sites(Settings()).items()}


def check(name: str) -> Iterator[Finding]:
    """What is found out about a site, one thing after the other.

    Raises:
        MalformedSitesFileError, UnknownSiteNameError
    """
    settings, clock = Settings(), SystemClock()
    known = sites(settings)
    site = known.get(name)
    if site is None:
        raise UnknownSiteNameError("the sites file has no site of this name")
    keys = key_ring(settings, clock)
    ensure_keys({name: site}, keys)
    yield Finding(True, "sites file", f"read; on: {', '.join(_parts(site)) or 'nothing'}")
    yield from _secrets(site)
    yield from _proof(site, keys, settings)
    if site.fhir is not None:
        try:
            peer = fhir_peer(site.fhir, keys, clock, jku=public_keys_url(settings))
        except ClinicalError as error:
            yield Finding(False, "FHIR server", checking.in_words(error))
            return
        try:
            yield from checking.check(peer, site.write_back)
            yield from _subscriptions(name, site, peer, settings)
        finally:
            peer.close()


def signing_keys(data_dir: Path | None) -> Iterator[tuple[SigningKey, bool]]:
    """Every key, and whether it signs now."""
    ring = keys_in(data_dir)
    for key in ring.all():
        yield key, ring.signing(key.algorithm).kid == key.kid


def keys_in(data_dir: Path | None) -> KeyRing:
    """The keys of the data folder, by default that of the settings."""
    settings = Settings()
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    return key_ring(settings, SystemClock())


def _parts(site: Site) -> list[str]:
    return [
        *(["webhooks"] if site.webhook_secrets else []),
        *(["Nabla Connect"] if site.nabla_connect_secrets else []),
        *(["FHIR server"] if site.fhir is not None else []),
        *(["subscriptions"] if site.subscriptions else []),
        *(["write-back"] if site.fhir is not None and site.write_back.is_on else []),
    ]


def _secrets(site: Site) -> Iterator[Finding]:
    if not site.webhook_secrets:
        yield Finding(None, "webhooks in", "off: `webhook_secrets` is empty")
        return
    try:
        StandardWebhooks([secret.value for secret in site.webhook_secrets])
    except ValueError:
        yield Finding(False, "webhooks in", "a secret is not `whsec_` and base64")
    else:
        yield Finding(True, "webhooks in", f"{len(site.webhook_secrets)} secret(s) are well formed")


def _proof(site: Site, keys: KeyRing, settings: Settings) -> Iterator[Finding]:
    """Which key proves who we are, and where the other side finds its public half."""
    auth = site.fhir.auth if site.fhir is not None else None
    if not isinstance(auth, SmartBackend):
        return
    key = keys.signing(auth.algorithm)
    where = public_keys_url(settings)
    if where:
        yield Finding(True, "our key", f"{key.kid} ({auth.algorithm}), published at {where}")
    elif auth.sends_jku:
        yield Finding(False, "our key", "`sends_jku` needs CLINICAL_PUBLIC_URL")
    else:
        yield Finding(
            None, "our key", f"{key.kid}; register /.well-known/jwks.json of this service"
        )


def _subscriptions(name: str, site: Site, peer: Peer, settings: Settings) -> Iterator[Finding]:
    """Whether each is made, and how the EHR says it is."""
    server = subscribed({name: site}, {name: peer}, SystemClock(), settings.public_url).server
    for each in site.subscriptions:
        where = f"subscription {each}"
        try:
            found = server.find(name, each)
            told = server.status(name, each, found) if found else None
        except ClinicalError as error:
            yield Finding(False, where, checking.in_words(error))
            continue
        standing = told.standing if told is not None else None
        if standing is None:
            yield Finding(None, where, "not found at the EHR: `clinical subscribe create` makes it")
        else:
            is_up = standing in (Standing.ACTIVE, Standing.REQUESTED)
            yield Finding(is_up, where, f"the EHR says that it is {standing.value}")
