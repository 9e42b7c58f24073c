"""What is exposed as FHIR, joined: how it looks, what it can be searched by, and whose tokens are good."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from adapters.assembly.stored import engine_of, settings_of
from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.tokens import AccessTokens
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.fhir.audit_events import Service
from adapters.fhir.exposed import ExposedShapes
from adapters.http.searches import parameters_of
from adapters.settings import Settings
from clinical.services.disclosure import DisclosureService
from clinical.services.ports import Clock


def shapes(settings: Settings, clock: Clock) -> ExposedShapes:
    """What renders it; the service's name is that of its audit log."""
    url = public_url(settings) or f"http://{settings.web_host}:{settings.web_port}"
    return ExposedShapes(
        service=Service(name=settings.ledger_origin, url=url),
        version=version("clinical-jepa"),
        since=clock.now(),
        parameters_of=parameters_of,
    )


def public_url(settings: Settings) -> str:
    """Where others reach this service, without a slash at its end; empty where nobody said."""
    return settings.public_url.rstrip("/")


@contextmanager
def disclosures(data_dir: Path | None = None) -> Iterator[tuple[DisclosureService, ExposedShapes]]:
    """Who reads the audit log for those outside, and how its entries look, for commands."""
    settings = settings_of(data_dir)
    with engine_of(settings) as engine:
        service = DisclosureService(
            open_unit_of_work=unit_of_work_factory(engine), identities=TimeOrderedIdentities()
        )
        yield service, shapes(settings, SystemClock())


@contextmanager
def tokens(data_dir: Path | None = None) -> Iterator[AccessTokens]:
    """The access tokens of this site."""
    with engine_of(settings_of(data_dir)) as engine:
        yield AccessTokens(engine, TimeOrderedIdentities())
