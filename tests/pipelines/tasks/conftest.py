"""A migrated database for each test, copied from one template."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from adapters.db.embedded import EmbeddedPostgres
from adapters.db.engine import create_engine
from adapters.db.migrate import upgrade
from adapters.db.unit_of_work import unit_of_work_factory
from clinical.services.ports import OpenUnitOfWork
from tests.pipelines.tasks.owing import SetClock


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("tasks") / "postgres") as running:
        upgrade(running.url)
        yield running


@pytest.fixture
def url(server: EmbeddedPostgres) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    target = make_url(server.url)
    maintenance = target.set(drivername="postgresql", database="postgres")
    place = maintenance.render_as_string(hide_password=False)
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{target.database}"')
    yield target.set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def open_unit_of_work(url: str, clock: SetClock) -> Iterator[OpenUnitOfWork]:
    """Leases and due times go by the clock that the test moves."""
    engine = create_engine(url)
    yield unit_of_work_factory(engine, moment=clock.now)
    engine.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "broker"
