"""The schema: built by migrating, the same as the tables say, and undone again."""

import hashlib
import threading
from collections.abc import Callable
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from adapters.db import (
    card_tables,  # noqa: F401 - so that the tables are known
    migrate,
)
from adapters.db.engine import create_engine
from adapters.db.tables import metadata
from clinical.audit.tree import Frontier

pytestmark = pytest.mark.integration


def _names(url: str) -> set[str]:
    """Tables and indexes, but for Alembic's own."""
    engine = create_engine(url)
    question = text(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'i') AND relname NOT LIKE 'alembic%'"
    )
    try:
        with engine.connect() as connection:
            return set(connection.execute(question).scalars())
    finally:
        engine.dispose()


def test_migrations_and_tables_agree(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_the_comparison_would_notice_a_missing_column(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("ALTER TABLE reviews DROP COLUMN fence"))
        context = MigrationContext.configure(connection)
        assert [change[0] for change in compare_metadata(context, metadata)] == ["add_column"]


def test_the_schema_has_one_newest_revision(database_url: str) -> None:
    scripts = ScriptDirectory.from_config(migrate._config())
    assert scripts.get_heads() == [migrate.newest()]
    assert migrate.current(database_url) == migrate.newest()


def test_every_revision_can_be_undone_and_done_again(empty_database_url: str) -> None:
    url = empty_database_url
    scripts = ScriptDirectory.from_config(migrate._config())
    revisions = [script.revision for script in scripts.walk_revisions()][::-1]
    for revision in revisions:
        before = _names(url)
        migrate.upgrade(url, revision)
        assert _names(url) - before
        migrate.downgrade(url, "-1")
        assert _names(url) == before
        migrate.upgrade(url, revision)
    migrate.downgrade(url, "base")
    assert migrate.current(url) is None
    assert _names(url) == set()
    assert _functions_of_ours(url) == []
    migrate.upgrade(url)
    assert migrate.current(url) == migrate.newest()


def _functions_of_ours(url: str) -> list[str]:
    engine = create_engine(url)
    question = text(
        "SELECT proname FROM pg_proc JOIN pg_language ON prolang = pg_language.oid"
        " WHERE pronamespace = 'public'::regnamespace AND lanname = 'plpgsql'"
    )
    try:
        with engine.connect() as connection:
            return list(connection.execute(question).scalars())
    finally:
        engine.dispose()


def test_processes_that_start_together_migrate_once(empty_database_url: str) -> None:
    failures: list[BaseException] = []

    def attempt(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001 - told by the assertion below
            failures.append(error)

    threads = [
        threading.Thread(target=attempt, args=(lambda: migrate.upgrade(empty_database_url),))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert migrate.current(empty_database_url) == migrate.newest()


@pytest.mark.parametrize("table", ["audit_entries", "audit_leaves", "audit_heads", "decisions"])
@pytest.mark.parametrize("change", ["UPDATE {} SET {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_what_is_append_only_refuses_change(engine: Engine, table: str, change: str) -> None:
    column = metadata.tables[table].columns.values()[0].name
    statement = change.format(table, f"{column} = {column}")
    with engine.connect() as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text(statement))


def test_a_log_older_than_its_stored_nodes_gets_them(empty_database_url: str) -> None:
    url, leaves = empty_database_url, [hashlib.sha256(b"%d" % n).digest() for n in range(21)]
    migrate.upgrade(url, "0009")
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            for index, leaf in enumerate(leaves):
                found = {"id": UUID(int=index), "index": index, "leaf": leaf}
                connection.execute(
                    text("INSERT INTO audit_entries VALUES (:id, now(), 'k', 'a', '{}', '')"),
                    found,
                )
                connection.execute(
                    text("INSERT INTO audit_leaves VALUES (:index, :id, :leaf)"), found
                )
        migrate.upgrade(url)
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT height, place, hash FROM audit_nodes")).all()
    finally:
        engine.dispose()
    frontier, completed = Frontier(), list[tuple[int, int, bytes]]()
    for leaf in leaves:
        completed += frontier.append(leaf)[1:]
    assert sorted((height, place, bytes(value)) for height, place, value in rows) == sorted(
        completed
    )
