"""A worker polls the sites whose file says so, and no others; one bad site keeps no other from it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from adapters.assembly.asking import polled_sites
from adapters.assembly.worker import open_parts
from adapters.db import tables
from adapters.settings import Settings
from pipelines.tasks.poller import PollRounds
from tests.pipelines.importing_stage import observation
from tests.pipelines.pulling.ehr import Ehr, answer, html

pytestmark = pytest.mark.integration


@pytest.fixture
def ehr() -> Iterator[Ehr]:
    with Ehr() as running:
        yield running


def _rounds(engine: Engine, folder: Path, sites: str) -> PollRounds:
    (folder / "sites.toml").write_text(sites)
    settings = Settings(data_dir=folder, sites_file=folder / "sites.toml")
    parts = open_parts(settings, "", engine=engine)
    return PollRounds(parts, polled_sites(settings, parts.clock, parts.identities))


def _sites_stored(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(select(tables.deliveries.c.site)))


def _site(name: str, url: str, poll: str = "") -> str:
    return f'[sites.{name}.fhir]\nbase_url = "{url}"\n{poll}'


def _poll(name: str) -> str:
    return f'[sites.{name}.poll]\ntypes = ["Condition", "Observation"]\nevery_minutes = 60\n'


def test_only_sites_whose_file_turns_polling_on_are_asked(
    engine: Engine, ehr: Ehr, tmp_path: Path
) -> None:
    meta = {"lastUpdated": "2026-03-01T12:00:00Z"}
    bundle = {"resourceType": "Bundle", "entry": [{"resource": observation("o1", meta=meta)}]}
    ehr.routes["GET /fhir/Observation"] = lambda _: answer(bundle)
    ehr.routes["GET /fhir/Condition"] = lambda _: html()  # one bad type keeps no other from it
    with Ehr() as silent:
        stated = (
            _site("off", ehr.url)
            + _site("on", ehr.url, _poll("on"))
            + _site("bad", silent.url, _poll("bad"))
        )
        rounds = _rounds(engine, tmp_path, stated)
        rounds.start()
        for _ in range(500):
            if "on" in _sites_stored(engine) and len(silent.asked) == 2:
                break
            time.sleep(0.02)
        rounds.stopping.set()
    assert _sites_stored(engine) == {"on"}
    assert len(ehr.asked) == 2
    with engine.connect() as connection:
        owed = connection.scalar(select(func.count()).select_from(tables.messages))
    assert owed == 1


def test_nobody_is_asked_where_no_file_says_so(engine: Engine, ehr: Ehr, tmp_path: Path) -> None:
    rounds = _rounds(engine, tmp_path, _site("off", ehr.url))
    rounds.start()
    rounds.stopping.set()
    assert ehr.asked == []
