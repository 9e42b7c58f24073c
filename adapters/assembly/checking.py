"""What works with a site and what does not, for whoever sets it up."""

import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from adapters.assembly import cds, nabla
from adapters.assembly.receivers import receivers
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
from clinical.services.ports import Clock
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
    if site.code_map is not None:
        code_map = site.code_map.value
        words = f"{len(code_map.meanings):,} codes, SHA-256 {code_map.digest[:12]}…"
        yield Finding(True, "code map", words)
    yield from _secrets(site)
    yield from _proof(site, keys, settings)
    yield from _messages(name, known, settings)
    yield from _nabla(site, keys, clock)
    yield from _receivers(name, site, clock)
    if site.cds_hooks is not None:
        folder = settings.sites_file.parent if settings.sites_file else Path()
        for is_well, words in cds.findings(site, folder, clock):
            yield Finding(is_well, "CDS Hooks", words)
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
        *(["Nabla Core's webhooks"] if site.nabla and site.nabla.core_webhook_secrets else []),
        *(["encounters in Nabla Connect"] if site.nabla and site.nabla.connect else []),
        *(["notes coded by Nabla Core"] if site.nabla and site.nabla.core else []),
        *([f"{len(site.webhooks)} receiver(s) of webhooks"] if site.webhooks else []),
        *(["CDS Hooks"] if site.cds_hooks is not None else []),
        *(["FHIR server"] if site.fhir is not None else []),
        *(["code map"] if site.code_map is not None else []),
        *(["HL7 v2"] if site.hl7v2 is not None else []),
        *(["C-CDA"] if site.ccda is not None else []),
        *(["subscriptions"] if site.subscriptions else []),
        *(["polling"] if site.poll is not None else []),
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


def _messages(name: str, known: Mapping[str, Site], settings: Settings) -> Iterator[Finding]:
    """Whether HL7 v2 can come in, and from whom."""
    rules = known[name].hl7v2
    if rules is None:
        return
    what = "HL7 v2 in"
    if not rules.senders or not rules.peers:
        yield Finding(False, what, "nobody may send: `senders` or `peers` is empty")
    everybody = Counter(
        (each.application, each.facility)
        for site in known.values()
        if site.hl7v2 is not None
        for each in site.hl7v2.senders
    )
    for each in rules.senders:
        called = f"{each.application or '(none)'} of {each.facility or '(none)'}"
        if everybody[each.application, each.facility] > 1:
            yield Finding(False, what, f"{called} is named twice: from one address it is refused")
        elif not each.time_zone:
            yield Finding(
                None, what, f"{called}: times without a zone keep the bounds of all zones"
            )
        else:
            yield Finding(True, what, f"{called}, in {each.time_zone}")
    where = (settings.mllp_host, settings.mllp_port)
    try:
        socket.create_connection(where, timeout=5).close()
    except OSError:
        yield Finding(
            False, what, f"nothing listens on {where[0]}:{where[1]}: start `clinical mllp`"
        )
    else:
        yield Finding(True, what, f"something listens on {where[0]}:{where[1]}")


def _nabla(site: Site, keys: KeyRing, clock: Clock) -> Iterator[Finding]:
    """Whether each product gives us a token: nothing else is asked of it."""
    for what, bearer in nabla.bearers(site, keys, clock):
        try:
            bearer().headers()
        except ClinicalError as error:
            yield Finding(False, what, checking.in_words(error))
        else:
            yield Finding(True, what, "gave us a token")


def _receivers(name: str, site: Site, clock: Clock) -> Iterator[Finding]:
    for endpoint, stated in site.webhooks.items():
        what = f"webhooks out: {endpoint}"
        try:
            receivers({name: site}, clock)
        except ClinicalError as error:
            yield Finding(False, what, checking.in_words(error))
        else:
            events = ", ".join(stated.events)
            ask = f"`clinical webhooks ping {name} {endpoint}` asks it"
            yield Finding(None, what, f"is told of {events}; {ask}")


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
