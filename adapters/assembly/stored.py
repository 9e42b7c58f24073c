"""What is stored of a site, for commands that run beside its processes or without them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from adapters import telemetry
from adapters.assembly import keys
from adapters.assembly.database import database_url
from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.clinicians import BadPasswordError, Clinicians
from adapters.db.engine import create_engine
from adapters.db.erasure import scrub
from adapters.db.migrate import upgrade
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.notary import Ed25519Notary
from adapters.settings import Settings
from clinical.services.erasure import ErasureService
from clinical.services.ledger import LedgerService
from clinical.services.ports import OpenUnitOfWork
from clinical.services.quarantine import QuarantineService
from clinical.services.recall import RecallService
from clinical.services.registry import RegistryService


def notary(data_dir: Path | None = None) -> Ed25519Notary:
    """Who signs this site's checkpoints."""
    return keys.notary(_settings(data_dir))


@contextmanager
def ledger(data_dir: Path | None = None) -> Iterator[LedgerService]:
    """The audit log as others may check it."""
    settings = _settings(data_dir)
    with _stored(settings) as open_unit_of_work:
        yield keys.ledger(settings, open_unit_of_work, SystemClock())


@contextmanager
def quarantine(data_dir: Path | None = None) -> Iterator[QuarantineService]:
    """What was set aside."""
    with _stored(_settings(data_dir)) as open_unit_of_work:
        yield QuarantineService(
            open_unit_of_work=open_unit_of_work,
            clock=SystemClock(),
            identities=TimeOrderedIdentities(),
        )


@contextmanager
def erasure(data_dir: Path | None = None) -> Iterator[tuple[ErasureService, Callable[[], None]]]:
    """Who erases patients, and what rewrites the tables afterwards."""
    with engine(_settings(data_dir)) as opened:
        service = ErasureService(
            open_unit_of_work=unit_of_work_factory(opened),
            clock=SystemClock(),
            identities=TimeOrderedIdentities(),
        )
        yield service, partial(scrub, opened)


@contextmanager
def registry(data_dir: Path | None = None) -> Iterator[RegistryService]:
    """The model registry."""
    with _stored(_settings(data_dir)) as open_unit_of_work:
        yield _registry(open_unit_of_work)


@contextmanager
def registry_as(
    name: str, password: str, data_dir: Path | None = None
) -> Iterator[RegistryService]:
    """The model registry, for somebody who is who they say.

    Raises:
        BadPasswordError
    """
    with engine(_settings(data_dir)) as opened:
        if Clinicians(opened).verify(name, password) is None:
            raise BadPasswordError("name and password do not belong together")
        yield _registry(unit_of_work_factory(opened))


def _registry(open_unit_of_work: OpenUnitOfWork) -> RegistryService:
    return RegistryService(
        open_unit_of_work=open_unit_of_work,
        clock=SystemClock(),
        identities=TimeOrderedIdentities(),
    )


@contextmanager
def recalls(data_dir: Path | None = None) -> Iterator[RecallService]:
    """Recalls, and what they find."""
    with _stored(_settings(data_dir)) as open_unit_of_work:
        yield RecallService(
            open_unit_of_work=open_unit_of_work,
            clock=SystemClock(),
            identities=TimeOrderedIdentities(),
        )


def _settings(data_dir: Path | None) -> Settings:
    settings = Settings()
    return settings if data_dir is None else settings.model_copy(update={"data_dir": data_dir})


@contextmanager
def _stored(settings: Settings) -> Iterator[OpenUnitOfWork]:
    with engine(settings) as opened:
        yield unit_of_work_factory(opened)


@contextmanager
def engine(settings: Settings) -> Iterator[Engine]:
    """The database of these settings, for as long as the block runs."""
    telemetry.configure("command")
    with database_url(settings) as url:
        if settings.database_url is None:
            upgrade(url)
        made = create_engine(url)
        try:
            yield made
        finally:
            made.dispose()
