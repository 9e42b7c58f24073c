"""Brings a database to a revision of the schema; knows Alembic, so that nobody needs an `alembic.ini`."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from adapters.db.engine import create_engine

# Any constant will do; it only has to be the same in every process.
_LOCK = 0x636C696E_6D696772


def upgrade(url: str, revision: str = "head") -> None:
    """Migrate upward in one transaction; several processes may call it at once."""
    _migrate(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Migrate downward in one transaction; `base` undoes everything."""
    _migrate(url, lambda config: command.downgrade(config, revision))


def current(url: str) -> str | None:
    """The revision of the database; None where nothing was migrated yet."""
    engine = create_engine(url, pool_size=1)
    try:
        with engine.connect() as connection:
            return revision_of(connection)
    finally:
        engine.dispose()


def revision_of(connection: Connection) -> str | None:
    """The revision of the database behind an open connection."""
    return MigrationContext.configure(connection).get_current_revision()


def newest() -> str | None:
    """The newest revision that this code knows."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def is_known(revision: str | None) -> bool:
    """Whether this code knows how to go on from that revision."""
    scripts = ScriptDirectory.from_config(_config())
    return revision in {script.revision for script in scripts.walk_revisions()}


def _migrate(url: str, run: Callable[[Config], None]) -> None:
    engine = create_engine(url, pool_size=1)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            run(_config(connection))
    finally:
        engine.dispose()


def _config(connection: Connection | None = None) -> Config:
    """The scripts are found by their package name: nothing here imports them."""
    spec = importlib.util.find_spec("migrations")
    assert spec is not None, "the package `migrations` is installed with this one"
    assert spec.origin is not None
    config = Config()
    config.set_main_option("script_location", str(Path(spec.origin).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
