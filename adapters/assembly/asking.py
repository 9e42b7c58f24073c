"""The sites that are asked on our own account, each with its clients, by the sites file.

Knows which server gets which limits, and which files our token. Does not know when anything is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from msgspec.structs import replace

from adapters.assembly.sites import ensure_keys, fhir_peer, key_ring, public_keys_url, sites
from adapters.egress.keys import KeyRing
from adapters.egress.peer import Peer
from adapters.fhir.pulling.asking import Asking
from adapters.fhir.pulling.bulk import BulkClient
from adapters.settings import Settings
from adapters.sites.peers import Fhir
from adapters.sites.pulling import Bulk, Poll
from adapters.sites.site import Site
from clinical.errors import RejectedError
from clinical.services.ports import Clock, Identities


class NothingToAskError(RejectedError):
    """The sites file has no such site, or says nothing of its FHIR server, or not what is needed."""

    code = "pull.nothing_to_ask"


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledSite:
    """One site as it may be asked; `poll` is None where its file does not turn polling on."""

    asking: Asking
    exports: BulkClient
    bulk: Bulk
    poll: Poll | None
    max_pause: timedelta
    peers: tuple[Peer, ...]

    def close(self) -> None:
        """Let go of connections that are kept open."""
        for peer in self.peers:
            peer.close()


def polled_sites(
    settings: Settings, clock: Clock, identities: Identities
) -> Mapping[str, PulledSite]:
    """The sites whose file turns polling on, by name."""
    known, keys = sites(settings), key_ring(settings, clock)
    ensure_keys(known, keys)
    jku = public_keys_url(settings)
    return {
        name: pulled_site(name, site, keys, clock, identities, jku=jku)
        for name, site in known.items()
        if site.fhir is not None and site.poll is not None
    }


def pulled_site(
    name: str,
    site: Site,
    keys: KeyRing,
    clock: Clock,
    identities: Identities,
    *,
    jku: str = "",
) -> PulledSite:
    """A site with its clients; raises NothingToAskError, ForeignAddressError."""
    if site.fhir is None:
        raise NothingToAskError("the sites file says nothing of this site's FHIR server")
    roomy = _roomy(site.fhir, site.bulk)
    peer, files, open_files = peers = (
        fhir_peer(site.fhir, keys, clock, jku=jku),
        fhir_peer(roomy, keys, clock, jku=jku),
        fhir_peer(replace(roomy, auth=None), keys, clock),
    )
    return PulledSite(
        asking=Asking(site=name, peer=peer, clock=clock, identities=identities),
        exports=BulkClient(peer, files, open_files, clock),
        peers=peers,
        bulk=site.bulk,
        poll=site.poll,
        max_pause=timedelta(seconds=site.fhir.limits.max_pause_seconds),
    )


def _roomy(fhir: Fhir, bulk: Bulk) -> Fhir:
    """The same server, with the limits of files."""
    limits = replace(
        fhir.limits,
        max_answer_bytes=bulk.max_file_bytes,
        max_answer_seconds=60 * bulk.max_file_minutes,
    )
    return replace(fhir, limits=limits)
