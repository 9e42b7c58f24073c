"""Repositories alone write no audit entries, which the schema demands of whoever commits."""

import pytest
from sqlalchemy import Engine, text


@pytest.fixture
def unaudited(engine: Engine) -> None:
    """Take the demand away, for tests of a repository by itself."""
    find = text("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'are_audited'")
    with engine.begin() as connection:
        tables = connection.execute(find).scalars().all()
        assert tables
        for table in tables:
            connection.execute(text(f"DROP TRIGGER are_audited ON {table}"))
