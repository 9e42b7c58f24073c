"""One import into a fresh embedded database, by a process of its own; prints what it took as JSON.

Run as `python -m pipelines.evaluation.importing_once PATH DATA_DIR`. It is what `clinical import`
does, with the time of starting the database left out and the peak of this process's memory told.
"""

import json
import re
import sys
from pathlib import Path

from adapters.assembly.worker import readers
from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.embedded import EmbeddedPostgres
from adapters.db.engine import create_engine
from adapters.db.migrate import upgrade
from adapters.db.unit_of_work import unit_of_work_factory
from clinical.services.intake import Intake
from pipelines.importing import Importer


def main(path: Path, data_dir: Path) -> None:
    """Import and tell."""
    with EmbeddedPostgres(data_dir) as server:
        upgrade(server.url)
        engine = create_engine(server.url)
        clock, identities = SystemClock(), TimeOrderedIdentities()
        intake = Intake(
            open_unit_of_work=unit_of_work_factory(engine),
            clock=clock,
            identities=identities,
            readers=readers(),
        )
        importer = Importer(
            intake=intake, clock=clock, identities=identities, site="bench", predict=False
        )
        report = importer.run(path, lambda _: None)
        engine.dispose()
    told = {
        "seconds": report.seconds,
        "num_records": report.num_records,
        "num_events": report.num_new_events,
        "num_bytes": report.num_bytes,
        "num_quarantined": report.quarantined.total(),
        "peak_mib": _peak_mib(),
    }
    sys.stdout.write(json.dumps(told))


def _peak_mib() -> float:
    """The largest resident set of this program; the database is another process and not in it.

    Not `getrusage`: its peak includes that of the process which forked this one.
    """
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert peak is not None, "Linux tells the peak"
    return int(peak[1]) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
