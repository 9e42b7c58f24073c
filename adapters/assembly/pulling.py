"""What `clinical pull` works with: one site's clients, and where what it answers is stored.

Knows which class implements which port. Does not know when anything is asked.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

from adapters.assembly.asking import NothingToAskError, PulledSite, pulled_site
from adapters.assembly.importing import import_parts
from adapters.assembly.sites import ensure_keys, key_ring, public_keys_url, sites
from adapters.settings import Settings
from adapters.sites.site import Site
from clinical.services.ports import Clock, Identities
from clinical.services.pulling import PullingService
from clinical.services.shedding import SheddingService


@dataclass(frozen=True, slots=True, kw_only=True)
class PullingParts:
    """One site, and where what it answers is stored."""

    site: PulledSite
    service: PullingService
    clock: Clock
    identities: Identities
    shedding: SheddingService


@contextmanager
def pulling_parts(name: str) -> Iterator[PullingParts]:
    """The parts for the site of this name, by the settings.

    Raises:
        NothingToAskError, MalformedSitesFileError, ForeignAddressError, StorageUnavailableError
    """
    settings = Settings()
    site = _named(sites(settings), name)  # before a database is started for nothing
    with import_parts() as parts:
        keys = key_ring(settings, parts.clock)
        ensure_keys({name: site}, keys)
        jku = public_keys_url(settings)
        pulled = pulled_site(name, site, keys, parts.clock, parts.identities, jku=jku)
        with closing(pulled):
            yield PullingParts(
                site=pulled,
                service=PullingService(
                    open_unit_of_work=parts.intake.open_unit_of_work,
                    clock=parts.clock,
                    identities=parts.identities,
                    receive=parts.intake.receive,
                ),
                clock=parts.clock,
                identities=parts.identities,
                shedding=parts.shedding,
            )


def _named(known: Mapping[str, Site], name: str) -> Site:
    site = known.get(name)
    if site is None or site.fhir is None:
        raise NothingToAskError("the sites file has no site of this name with a FHIR server")
    return site
