"""What the tests of importing stand on: an importer on the test's database, small resources, counts."""

import contextlib
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select

from adapters.assembly.worker import readers
from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db import tables
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.sites.site import Site
from clinical.services.delivery import Quarantined
from clinical.services.intake import Intake
from clinical.services.ports import OpenUnitOfWork
from pipelines.importing import Importer, ImportReport
from pipelines.samples import synthea_bundles

SITE = "north"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A database, and an importer into it."""

    engine: Engine
    open_unit_of_work: OpenUnitOfWork
    intake: Intake

    def take(self, path: Path, *, predict: bool = True) -> ImportReport:
        """Import what lies there."""
        importer = Importer(
            intake=self.intake,
            clock=self.intake.clock,
            identities=self.intake.identities,
            site=SITE,
            predict=predict,
        )
        return importer.run(path, lambda _: None)

    def sizes(self) -> dict[str, int]:
        """The number of rows of every table."""
        with self.engine.connect() as connection:
            return {
                table.name: connection.scalar(select(func.count()).select_from(table)) or 0
                for table in tables.metadata.sorted_tables
            }

    def bodies(self) -> list[bytes]:
        """The stored bytes of every delivery, in the order of arrival."""
        columns = tables.deliveries.c
        with self.engine.connect() as connection:
            return list(connection.scalars(select(columns.body).order_by(columns.delivery_id)))

    def quarantined(self) -> list[Quarantined]:
        """What is kept aside."""
        q = tables.quarantine.c
        with self.engine.connect() as connection:
            rows = connection.execute(select(tables.quarantine).order_by(q.delivery_id, q.position))
            return [
                Quarantined(
                    position=row.position,
                    record_type=row.record_type,
                    record_id=row.record_id,
                    digest=row.digest,
                    reason_code=row.reason_code,
                    detail=row.detail,
                )
                for row in rows
            ]


def stage_on(engine: Engine, sites: Mapping[str, Site] | None = None) -> Stage:
    """The parts that `clinical import` has, on the test's database, with the rules of these sites."""
    open_unit_of_work = unit_of_work_factory(engine)
    intake = Intake(
        open_unit_of_work=open_unit_of_work,
        clock=SystemClock(),
        identities=TimeOrderedIdentities(),
        readers=readers(sites),
    )
    return Stage(engine=engine, open_unit_of_work=open_unit_of_work, intake=intake)


def patient(record_id: str = "p1") -> dict[str, Any]:
    """A patient resource."""
    return {
        "resourceType": "Patient",
        "id": record_id,
        "gender": "female",
        "birthDate": "1960-02-29",
    }


def observation(record_id: str, **changes: Any) -> dict[str, Any]:
    """A systolic blood pressure of the patient `p1`."""
    resource: dict[str, Any] = {
        "resourceType": "Observation",
        "id": record_id,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2020-01-02T03:04:05Z",
        "valueQuantity": {
            "value": 120,
            "unit": "mmHg",
            "system": "http://unitsofmeasure.org",
            "code": "mm[Hg]",
        },
    }
    return resource | changes


def bundle(*resources: Mapping[str, Any]) -> bytes:
    """A collection Bundle of these resources."""
    entries = [{"resource": resource} for resource in resources]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode()


def ndjson(*resources: Mapping[str, Any]) -> bytes:
    """One resource a line."""
    return b"".join(json.dumps(resource).encode() + b"\n" for resource in resources)


def sample_folder(folder: Path, count: int) -> list[bytes]:
    """Write some sample Bundles, gzipped, into the folder; their bytes in the order of their paths."""
    folder.mkdir()
    bundles = synthea_bundles()
    bodies = {}
    for name, body in (next(bundles) for _ in range(count)):
        packed = gzip.compress(body, mtime=0)
        path = folder / f"{Path(name).name.removesuffix('.gz').removesuffix('.json')}.json.gz"
        path.write_bytes(packed)
        bodies[path] = packed
    return [bodies[path] for path in sorted(bodies)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run of the command ended."""

    code: int
    output: str
    errors: str
    peak_mib: float


def command(folder: Path, *arguments: str, database_url: str | None = None) -> Ended:
    """Run `clinical import` as a user would; `peak_mib` is the most resident memory it had."""
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "COLUMNS": "120",
        "CLINICAL_DATA_DIR": str(folder / "data"),
    }
    if database_url is not None:
        environment["CLINICAL_DATABASE_URL"] = database_url
    output, errors = folder / "output.txt", folder / "errors.txt"
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipelines", "import", *arguments],
            env=environment,
            cwd=folder,
            stdout=out,
            stderr=err,
        )
        peak_kib = 0
        while process.poll() is None:
            peak_kib = max(peak_kib, _peak_kib(process.pid))
            time.sleep(0.02)
    assert peak_kib > 0
    return Ended(
        code=process.returncode,
        output=output.read_text(),
        errors=errors.read_text(),
        peak_mib=peak_kib / 1024,
    )


def _peak_kib(pid: int) -> int:
    """The high-water mark of a process; `ru_maxrss` would include what its parent had at the fork."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0
