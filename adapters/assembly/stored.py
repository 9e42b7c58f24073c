"""What is stored of a site, for commands that run beside its processes or without them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from adapters import telemetry
from adapters.assembly import keys
from adapters.assembly.database import database_url
from adapters.assembly.receivers import announced, receivers
from adapters.assembly.sites import sites
from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.clinicians import BadPasswordError, Clinicians
from adapters.db.engine import create_engine
from adapters.db.erasure import scrub
from adapters.db.migrate import upgrade
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.notary import Ed25519Notary
from adapters.receivers.receivers import WebhookReceivers
from adapters.settings import Settings
from clinical.services.announcing import AnnouncingService
from clinical.services.erasure import ErasureService
from clinical.services.ledger import LedgerService
from clinical.services.ports import OpenUnitOfWork, ReceiverName
from clinical.services.quarantine import QuarantineService
from clinical.services.recall import RecallService
from clinical.services.registry import RegistryService


def notary(data_dir: Path | None = None) -> Ed25519Notary:
    """Who signs this site's checkpoints."""
    return keys.notary(settings_of(data_dir))


@contextmanager
def ledger(data_dir: Path | None = None) -> Iterator[LedgerService]:
    """The audit log as others may check it."""
    settings = settings_of(data_dir)
    with _stored(settings) as open_unit_of_work:
        yield keys.ledger(settings, open_unit_of_work, SystemClock())


@contextmanager
def quarantine(data_dir: Path | None = None) -> Iterator[QuarantineService]:
    """What was set aside."""
    with _stored(settings_of(data_dir)) as open_unit_of_work:
        yield QuarantineService(
            open_unit_of_work=open_unit_of_work,
            clock=SystemClock(),
            identities=TimeOrderedIdentities(),
        )


@contextmanager
def erasure(data_dir: Path | None = None) -> Iterator[tuple[ErasureService, Callable[[], None]]]:
    """Who erases patients, and what rewrites the tables afterwards."""
    with engine_of(settings_of(data_dir)) as engine:
        service = ErasureService(
            open_unit_of_work=unit_of_work_factory(engine),
            clock=SystemClock(),
            identities=TimeOrderedIdentities(),
        )
        yield service, partial(scrub, engine)


@contextmanager
def registry(data_dir: Path | None = None) -> Iterator[RegistryService]:
    """The model registry."""
    with _stored(settings_of(data_dir)) as open_unit_of_work:
        yield _registry(open_unit_of_work)


@contextmanager
def registry_as(
    name: str, password: str, data_dir: Path | None = None
) -> Iterator[RegistryService]:
    """The model registry, for somebody who is who they say.

    Raises:
        BadPasswordError
    """
    settings = settings_of(data_dir)
    with engine_of(settings) as engine:
        if Clinicians(engine).verify(name, password) is None:
            raise BadPasswordError("name and password do not belong together")
        yield _registry(unit_of_work_factory(engine, announced=announced(sites(settings))))


def _registry(open_unit_of_work: OpenUnitOfWork) -> RegistryService:
    return RegistryService(
        open_unit_of_work=open_unit_of_work,
        clock=SystemClock(),
        identities=TimeOrderedIdentities(),
    )


@contextmanager
def recalls(data_dir: Path | None = None) -> Iterator[RecallService]:
    """Recalls, and what they find."""
    with _stored(settings_of(data_dir)) as open_unit_of_work:
        yield RecallService(
            open_unit_of_work=open_unit_of_work,
            clock=SystemClock(),
            identities=TimeOrderedIdentities(),
        )


@contextmanager
def announcing(
    data_dir: Path | None = None,
) -> Iterator[tuple[AnnouncingService, WebhookReceivers, list[ReceiverName]]]:
    """Who tells others, whom they can call, and all of those by name."""
    settings, clock = settings_of(data_dir), SystemClock()
    known = sites(settings)
    told = receivers(known, clock)
    named = [ReceiverName(site, name) for site in known for name in known[site].webhooks]
    with _stored(settings) as open_unit_of_work:
        service = AnnouncingService(
            open_unit_of_work=open_unit_of_work,
            clock=clock,
            identities=TimeOrderedIdentities(),
            receivers=told,
        )
        yield service, told, named


def settings_of(data_dir: Path | None) -> Settings:
    """The settings, but with this data folder where one is given."""
    settings = Settings()
    return settings if data_dir is None else settings.model_copy(update={"data_dir": data_dir})


@contextmanager
def _stored(settings: Settings) -> Iterator[OpenUnitOfWork]:
    with engine_of(settings) as engine:
        yield unit_of_work_factory(engine, announced=announced(sites(settings)))


@contextmanager
def engine_of(settings: Settings) -> Iterator[Engine]:
    """The database of the site; the embedded one is started and brought up to date."""
    telemetry.configure("command")
    with database_url(settings) as url:
        if settings.database_url is None:
            upgrade(url)
        made = create_engine(url)
        try:
            yield made
        finally:
            made.dispose()
