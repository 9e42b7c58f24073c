"""The audit log for the commands that show it: its key, and its entries from the stored site."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters import telemetry
from adapters.assembly import keys
from adapters.assembly.database import database_url
from adapters.clock import SystemClock
from adapters.db.engine import create_engine
from adapters.db.migrate import upgrade
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.notary import Ed25519Notary
from adapters.settings import Settings
from clinical.services.ledger import LedgerService


def notary(data_dir: Path | None = None) -> Ed25519Notary:
    """Who signs this site's checkpoints."""
    return keys.notary(_settings(data_dir))


@contextmanager
def published(data_dir: Path | None = None) -> Iterator[LedgerService]:
    """The log of the stored site."""
    telemetry.configure("ledger")
    settings = _settings(data_dir)
    with database_url(settings) as url:
        if settings.database_url is None:
            upgrade(url)
        engine = create_engine(url)
        try:
            yield keys.ledger(settings, unit_of_work_factory(engine), SystemClock())
        finally:
            engine.dispose()


def _settings(data_dir: Path | None) -> Settings:
    settings = Settings()
    return settings if data_dir is None else settings.model_copy(update={"data_dir": data_dir})
