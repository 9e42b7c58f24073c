"""`clinical bench path`: the whole site in a temporary folder, asked from outside as an EHR would.

Signed webhooks for sample patients, one at a time; the clock runs from before the request is sent
until the prediction's review can be read from the database. Then the memory of each process.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from adapters.assembly import guard, keys
from adapters.assembly.embedded import Site, running
from adapters.assembly.worker import Parts, open_parts
from adapters.clock import SystemClock
from pipelines.commands.processes import commands
from pipelines.demo import SITE, SignedWebhook, send, wait_until_done
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured
from pipelines.evaluation.timing import quantile
from pipelines.probing import memory_mebibytes, webhook_to_prediction_seconds
from pipelines.samples import demo_bundles

COMMAND = "clinical bench path"
GOALS_MIB = {"web": 150.0, "worker": 200.0}
SEED = 0
_NUM_WARM_UP = 5


def run(*, num_patients: int, num_probes: int, say: Callable[[str], None]) -> list[BenchmarkRow]:
    """Measure; the rows `path.webhook_to_prediction_p50_ms`, `…_p99_ms`, `memory.web_mib`, `….worker_mib`.

    Raises:
        PortTakenError: the site's ports are in use.
    """
    with (
        tempfile.TemporaryDirectory(prefix="clinical-bench-") as folder,
        running(commands(), data_dir=Path(folder) / "data", web_port=0, site=SITE) as site,
    ):
        say("Starting web, worker and model …")
        site.wait_until_ready("web", "worker", "model")
        parts = open_parts(site.settings, site.database_url)
        webhook = SignedWebhook(
            web_url=site.web_url, secret=keys.webhook_secret(site.settings, SITE)
        )
        _fill(site, parts, webhook, num_patients, say)
        milliseconds = []
        probes = webhook_to_prediction_seconds(parts, webhook, _NUM_WARM_UP + num_probes)
        for number, seconds in enumerate(probes):
            say(f"Webhook {number + 1} of {_NUM_WARM_UP + num_probes} …")
            if number >= _NUM_WARM_UP:
                milliseconds.append(1000 * seconds)
        memory, resident = memory_mebibytes(site), _resident_mebibytes(site)
    return [
        *_latency_rows(milliseconds, num_patients),
        *_memory_rows(memory, resident, num_patients, num_probes),
    ]


def _fill(
    site: Site, parts: Parts, webhook: SignedWebhook, num_patients: int, say: Callable[[str], None]
) -> None:
    for num_sent in send(parts, list(demo_bundles())[:num_patients], webhook):
        say(f"Sent {num_sent} of {num_patients} patients …")

    def look(num_waiting: int) -> None:
        site.require_alive()
        say(f"Sent {num_patients} patients; {num_waiting} pieces of work are owed …")

    wait_until_done(parts, look)


def _latency_rows(milliseconds: list[float], num_patients: int) -> list[BenchmarkRow]:
    rows = []
    for name, level in (("p50", 0.5), ("p99", 0.99)):
        value, interval = quantile(milliseconds, level, seed=SEED)
        rows.append(
            measured(
                clock=SystemClock(),
                id=f"path.webhook_to_prediction_{name}_ms",
                value=value,
                unit="ms",
                better=Better.LOWER,
                interval=interval,
                n=len(milliseconds),
                seeds=(SEED,),
                command=COMMAND,
                note=(
                    "One signed webhook with one Observation at a time, no other load, from before "
                    "the request is sent until the prediction's review is read from the database, "
                    f"looked at every 2 ms; {num_patients} sample patients, embedded PostgreSQL, "
                    "one worker process, model on the CPU; interval by bootstrap."
                ),
            )
        )
    return rows


def _resident_mebibytes(site: Site) -> dict[str, float]:
    """Resident set size of each child with all its descendants; shared pages count in each."""
    return {
        name: sum(map(_rss, guard.processes_of(child.session))) / 2**20
        for name, child in site.children.items()
    }


def _rss(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _memory_rows(
    memory: Mapping[str, float],
    resident: Mapping[str, float],
    num_patients: int,
    num_probes: int,
) -> list[BenchmarkRow]:
    return [
        measured(
            clock=SystemClock(),
            id=f"memory.{name}_mib",
            value=memory[name],
            unit="MiB",
            better=Better.LOWER,
            goal=goal,
            baselines={"its processes' resident sets added up, MiB": resident[name]},
            n=1,
            command=COMMAND,
            note=(
                f"The {name} process with all its descendants after {num_patients} patients and "
                f"{num_probes} webhooks: proportional set size, which counts shared pages once."
            ),
        )
        for name, goal in GOALS_MIB.items()
    ]
