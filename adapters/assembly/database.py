"""Which database a process of this site talks to: the one in the settings, or the embedded one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.db import migrate
from adapters.db.embedded import EmbeddedPostgres
from adapters.settings import Settings


def folder_of(settings: Settings) -> Path:
    """Where the embedded database lives."""
    return settings.data_dir / "postgres"


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The URL to connect to, for as long as the block runs.

    Without one in the settings the embedded server of the data folder is attached to, or started
    and stopped again.

    Raises:
        StorageUnavailableError
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    with EmbeddedPostgres(folder_of(settings)) as server:
        yield server.url


def migrate_site() -> str:
    """Bring the database of the settings to the newest schema; its revision.

    Raises:
        StorageUnavailableError
    """
    with database_url(Settings()) as url:
        migrate.upgrade(url)
        return migrate.current(url) or ""
