"""Connections of ours: what a process that stands still cannot keep from the others."""

import os
import signal
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from adapters.db.engine import create_engine
from adapters.db.errors import StorageUnavailableError, translating
from adapters.db.moments import DatabaseClock
from tests.fakes import NOON, SettableClock

pytestmark = pytest.mark.integration


def test_a_frozen_process_does_not_keep_its_rows_from_the_others(
    database_url: str, engine: Engine
) -> None:
    row = "INSERT INTO patients VALUES ('00000000-0000-0000-0000-000000000001', 'north', 'p1')"
    with engine.begin() as connection:
        connection.execute(text(row))
    frozen = create_engine(database_url, longest_pause_seconds=0.3)
    with frozen.connect() as claiming:
        claiming.execute(text("SELECT * FROM patients FOR UPDATE"))
        with engine.begin() as working:  # waits for the row, and gets it
            working.execute(text("UPDATE patients SET record_id = 'p2'"))
        with pytest.raises(StorageUnavailableError), translating():
            claiming.execute(text("UPDATE patients SET record_id = 'p3'"))
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT record_id FROM patients")) == "p2"
    frozen.dispose()


def test_a_server_that_says_nothing_is_not_waited_for(database_url: str, engine: Engine) -> None:
    impatient = create_engine(database_url, longest_answer_seconds=0.5)
    with impatient.connect() as connection:
        backend = connection.scalar(text("SELECT pg_backend_pid()"))
        assert connection.scalar(text("SELECT 1 FROM pg_sleep(0.1)")) == 1
        os.kill(backend, signal.SIGSTOP)
        try:
            with pytest.raises(StorageUnavailableError), translating():
                connection.execute(text("SELECT 1"))
        finally:
            os.kill(backend, signal.SIGCONT)
    with impatient.connect() as connection:  # another connection has taken its place
        assert connection.scalar(text("SELECT pg_backend_pid()")) != backend
    impatient.dispose()


@pytest.mark.parametrize("wrong_by", [timedelta(hours=-1), timedelta(0), timedelta(hours=1)])
def test_the_moment_is_the_databases_whatever_the_own_clock_says(
    engine: Engine, wrong_by: timedelta
) -> None:
    with engine.connect() as connection:
        told = connection.scalar(text("SELECT clock_timestamp()"))
    own, elapsed = SettableClock(told + wrong_by), [0.0]
    clock = DatabaseClock(engine, own.now, lambda: elapsed[0])
    assert timedelta(0) <= clock.now() - told < timedelta(minutes=10)
    difference = clock.now() - own.now()
    own.advance(timedelta(seconds=30))
    assert clock.now() - own.now() == difference
    # The own clock is set right meanwhile; that is noticed after a minute.
    own.advance(-wrong_by)
    elapsed[0] = 61.0
    assert abs(clock.now() - told) < timedelta(minutes=10)


def test_while_the_database_is_away_the_difference_found_last_goes_on(
    engine: Engine, database_url: str
) -> None:
    away = create_engine("postgresql://nobody@/nothing?host=/nowhere")
    clock = DatabaseClock(away, SettableClock(NOON).now)
    assert clock.now() == NOON
    away.dispose()
