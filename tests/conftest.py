"""What every test may ask for: a clock, identities, and a database of its own in a real PostgreSQL.

The server comes from the wheel and is started once, or is the one that CLINICAL_TEST_DATABASE_URL
names. The schema is built once, by migrating; each test gets a copy.
"""

import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psycopg
import pytest
from sqlalchemy import Engine, make_url

from adapters.db import migrate
from adapters.db.embedded import EmbeddedPostgres
from adapters.db.engine import create_engine
from adapters.db.unit_of_work import unit_of_work_factory
from clinical.services.ports import OpenUnitOfWork
from tests.fakes import SeededIdentities, SettableClock

# No zone that anybody would guess right: a moment that loses its zone is off by 12 h 45 min.
os.environ["TZ"] = "XXX-12:45"  # noqa: TID251 - the environment of the tests themselves
time.tzset()

# How fast examples are drawn says how busy the machine is, and nothing about the code.
hypothesis.settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any-machine")

# A test's database need not survive a power cut.
_HASTY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
}


@pytest.fixture
def frozen_clock() -> SettableClock:
    """A clock that stands still until the test moves it."""
    return SettableClock()


@pytest.fixture
def identities() -> SeededIdentities:
    """Identities that are the same in every run."""
    return SeededIdentities()


@pytest.fixture(scope="session")
def database_server() -> Iterator[str]:
    """The URL of a database on a running server, to whose other databases tests come and go."""
    given = os.environ.get("CLINICAL_TEST_DATABASE_URL")  # noqa: TID251
    if given:
        yield given
        return
    # Not below pytest's own folder: that is closed to others, and the server is one when we are root.
    with (
        tempfile.TemporaryDirectory(prefix="clinical-test-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", _HASTY) as server,
    ):
        yield server.url


@pytest.fixture(scope="session")
def database_template(database_server: str) -> Iterator[str]:
    """The name of a migrated database without rows, to be copied."""
    name = f"clinical_template_{secrets.token_hex(4)}"
    _execute(database_server, f'CREATE DATABASE "{name}"')
    migrate.upgrade(_sibling(database_server, name))
    yield name
    _execute(database_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def database_url(database_server: str, database_template: str) -> Iterator[str]:
    """The URL of a migrated database of the test's own."""
    name = f"clinical_test_{secrets.token_hex(8)}"
    _execute(database_server, f'CREATE DATABASE "{name}" TEMPLATE "{database_template}"')
    yield _sibling(database_server, name)
    _execute(database_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def empty_database_url(database_server: str) -> Iterator[str]:
    """The URL of a database of the test's own in which nothing was migrated."""
    name = f"clinical_test_{secrets.token_hex(8)}"
    _execute(database_server, f'CREATE DATABASE "{name}"')
    yield _sibling(database_server, name)
    _execute(database_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine over the test's database, roomy enough for tests with threads."""
    made = create_engine(database_url, pool_size=10, max_overflow=20)
    yield made
    made.dispose()


@pytest.fixture
def open_unit_of_work(engine: Engine) -> OpenUnitOfWork:
    """Begins transactions in the test's database."""
    return unit_of_work_factory(engine)


def _sibling(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def _execute(url: str, statement: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statement.encode())
