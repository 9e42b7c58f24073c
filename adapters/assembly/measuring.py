"""A database of its own for a bench that needs no running site, and the parts of a worker over it; wiring only."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from adapters.assembly.database import folder_of
from adapters.assembly.worker import Parts, open_parts
from adapters.db.embedded import EmbeddedPostgres
from adapters.db.migrate import upgrade
from adapters.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where it is; goes to other processes as it is."""

    url: str
    settings: Settings

    def open_parts(self, engine: Engine | None = None) -> Parts:
        """What a worker works with, here."""
        return open_parts(self.settings, self.url, engine=engine)


@contextmanager
def fresh_place(folder: Path) -> Iterator[Place]:
    """An empty, durable, embedded PostgreSQL in this folder, for as long as the block runs.

    Raises:
        StorageUnavailableError
    """
    changes = {"data_dir": folder / "data", "database_url": None}
    settings = Settings().model_copy(update=changes)
    with EmbeddedPostgres(folder_of(settings)) as server:
        upgrade(server.url)
        yield Place(url=server.url, settings=settings)
