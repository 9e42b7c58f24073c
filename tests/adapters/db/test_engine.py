"""Connections of ours: what a process that stands still cannot keep from the others."""

import pytest
from sqlalchemy import Engine, text

from adapters.db.engine import create_engine
from adapters.db.errors import StorageUnavailableError, translating

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
