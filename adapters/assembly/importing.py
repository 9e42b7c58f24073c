"""What `clinical import` works with: intake on the database of this site, and every reader.

Knows which class implements which port. Does not know files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from adapters.assembly import load
from adapters.assembly.database import database_url
from adapters.assembly.sites import sites
from adapters.assembly.worker import readers
from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db import migrate
from adapters.db.engine import create_engine
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.settings import Settings
from clinical.services.intake import Intake
from clinical.services.ports import Clock, Identities
from clinical.services.shedding import SheddingService


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportParts:
    """Intake and what deliveries are stamped with."""

    intake: Intake
    clock: Clock
    identities: Identities
    shedding: SheddingService


@contextmanager
def import_parts() -> Iterator[ImportParts]:
    """The parts, by the settings; an embedded database is brought to the newest schema first.

    The schema of a configured server is its operators' business: `clinical migrate`.

    Raises:
        StorageUnavailableError
        MalformedSitesFileError, MalformedCodeMapError
    """
    settings = Settings()
    with database_url(settings) as url:
        if settings.database_url is None:
            migrate.upgrade(url)
        engine = create_engine(url)
        clock, identities = SystemClock(), TimeOrderedIdentities()
        open_unit_of_work = unit_of_work_factory(engine)
        try:
            yield ImportParts(
                intake=Intake(
                    open_unit_of_work=open_unit_of_work,
                    clock=clock,
                    identities=identities,
                    readers=readers(sites(settings)),
                ),
                clock=clock,
                identities=identities,
                shedding=load.shedding(settings, open_unit_of_work),
            )
        finally:
            engine.dispose()
