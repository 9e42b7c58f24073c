"""A bulk export whose process is killed (-9) again and again ends as one that nobody disturbed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, text

from adapters.clock import SystemClock
from adapters.db import tables
from adapters.db.pull_tables import bulk_jobs
from clinical.audit.entry import Act
from tests.pipelines.importing_stage import ndjson, observation, patient, stage_on
from tests.pipelines.pulling.ehr import Ehr, Export, Reply

pytestmark = pytest.mark.integration

_NUM_LINES = 12_000


@pytest.fixture
def ehr() -> Iterator[Ehr]:
    with Ehr() as running:
        yield running


class Pulls:
    """`clinical pull bulk` as a user would run it."""

    def __init__(self, folder: Path, ehr: Ehr, database_url: str) -> None:
        self._folder = folder
        sites = folder / "sites.toml"
        sites.write_text(
            "".join(f'[sites.{name}.fhir]\nbase_url = "{ehr.url}"\n' for name in ("north", "south"))
        )
        self._environment = {
            "PATH": os.defpath,
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "CLINICAL_DATA_DIR": str(folder / "data"),
            "CLINICAL_DATABASE_URL": database_url,
            "CLINICAL_SITES_FILE": str(sites),
        }

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Begin, and do not wait."""
        command = [sys.executable, "-P", "-m", "pipelines", "pull", "bulk", *arguments]
        return subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments: str) -> str:
        """To the end, which must be a good one; what it said."""
        said, _ = self.start(*arguments).communicate(timeout=120)
        return said.decode()


def _num_deliveries(engine: Engine, site: str) -> int:
    c = tables.deliveries.c
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).where(c.site == site)) or 0


def _is_done(engine: Engine, site: str) -> bool:
    c = bulk_jobs.c
    with engine.connect() as connection:
        query = select(func.count()).where(c.site == site, c.state == "done")
        return bool(connection.scalar(query))


def _understand(engine: Engine) -> None:
    stage = stage_on(engine)
    c = tables.deliveries.c
    with engine.connect() as connection:
        waiting = list(connection.scalars(select(c.delivery_id).where(c.recorded_at.is_(None))))
    for each in waiting:
        stage.intake.record(each, Act(actor="test", at=SystemClock().now()), predict=False)


def _facts(engine: Engine, site: str) -> list[tuple[str, str, str, int]]:
    query = text(
        "SELECT record_type, record_id, digest, count(*) FROM events WHERE site = :site"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query, {"site": site})]  # type: ignore[misc]


def test_an_export_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    ehr: Ehr, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    lines = ndjson(*(observation(f"o{number}") for number in range(_NUM_LINES)))
    deletion = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"request": {"method": "DELETE", "url": "Observation/gone"}}],
    }
    export = Export(ehr)
    export.file("Patient.ndjson", ndjson(patient()))
    path = export.file("Observation.ndjson", lines)
    export.file("Bundle.ndjson", ndjson(deletion), kind="deleted")
    step = len(lines) // 24

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(lines), step):
            time.sleep(0.05)
            yield lines[start : start + step]

    ehr.routes[f"GET {path}"] = lambda _: Reply(pieces=slowly(), length=len(lines))
    pulls = Pulls(tmp_path, ehr, database_url)
    num_killed = 0
    running = pulls.start("north")
    while not _is_done(engine, "north") and num_killed < 4:
        held = _num_deliveries(engine, "north")
        while running.poll() is None and _num_deliveries(engine, "north") < held + 3:
            time.sleep(0.01)
        if running.poll() is None:
            running.send_signal(signal.SIGKILL)
            num_killed += 1
        running.communicate()
        if not _is_done(engine, "north"):
            running = pulls.start("north", "--resume")
    running.communicate(timeout=120)
    assert num_killed >= 2
    assert _is_done(engine, "north")
    assert len(ehr.asked_for("/fhir/Patient/$export")) == 1
    ehr.routes[f"GET {path}"] = lambda _: Reply(body=lines)
    said = pulls.run("south")
    assert f"{_NUM_LINES + 2:,} lines" in said
    assert _is_done(engine, "south")
    assert _num_deliveries(engine, "north") == _num_deliveries(engine, "south")
    _understand(engine)
    facts = _facts(engine, "south")
    assert len(facts) == _NUM_LINES + 1
    assert _facts(engine, "north") == facts
