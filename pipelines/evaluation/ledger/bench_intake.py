"""`clinical bench intake`: a whole site under webhooks at falling rates, then at three times the bar.

The highest rate at which no backlog grows is what this machine sustains; senders, database, web,
worker and model share its cores.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine

from adapters.assembly import keys
from adapters.assembly.embedded import running
from adapters.assembly.worker import Parts, open_parts
from adapters.clock import SystemClock
from adapters.db.engine import create_engine
from pipelines.commands.processes import commands
from pipelines.demo import SITE, SignedWebhook, send, wait_until_done
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured
from pipelines.evaluation.ledger import arriving
from pipelines.evaluation.ledger.arriving import Load
from pipelines.evaluation.timing import quantile
from pipelines.samples import demo_bundles

COMMAND = "clinical bench intake"
SEED = 0
_OVERLOAD = 3
_SOON_SECONDS = 10.0


def run(
    *,
    rates: list[float],
    seconds: float,
    num_patients: int,
    drain_seconds: float,
    say: Callable[[str], None],
) -> list[BenchmarkRow]:
    """Measure; the rows `intake.ack_p99_ms`, `.overload_ack_ratio`, `.sustained_events_per_s`, `.webhook_to_prediction`.

    Raises:
        PortTakenError
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
        for num_sent in send(parts, list(demo_bundles())[:num_patients], webhook):
            say(f"Sent {num_sent} of {num_patients} patients …")
        wait_until_done(parts, lambda left: say(f"{left} pieces of work are owed …"))
        engine = create_engine(site.database_url, pool_size=1)
        loads: list[Load] = []
        for rate in rates:
            say(f"{rate:.0f} webhooks a second …")
            loads.append(_one(parts, webhook, engine, rate, seconds, drain_seconds))
            if loads[-1].is_sustained:
                break
        say("Three times as many …")
        flood = _one(
            parts, webhook, engine, _OVERLOAD * rates[0], seconds, drain_seconds, _OVERLOAD
        )
        engine.dispose()
    return _rows(loads, flood, seconds, num_patients)


def _one(
    parts: Parts,
    webhook: SignedWebhook,
    engine: Engine,
    rate: float,
    seconds: float,
    drain_seconds: float,
    times: int = 1,
) -> Load:
    since = parts.clock.now()
    load = arriving.send(
        parts,
        webhook,
        per_second=rate,
        seconds=seconds,
        num_senders=times * arriving.NUM_SENDERS,
    )
    arriving.wait_until_quiet(parts, drain_seconds)
    arriving.follow(engine, load, since)
    return load


def _rows(loads: list[Load], flood: Load, seconds: float, num_patients: int) -> list[BenchmarkRow]:
    first, last = loads[0], loads[-1]
    told = "; ".join(_told(each) for each in [*loads, flood])
    note = (
        f"Signed webhooks with one Observation each for {num_patients} sample patients, sixteen senders "
        f"(three times as many in the last), {seconds:.0f} s at each rate; senders, embedded PostgreSQL, web, worker and model on "
        f"the same cores. {told}."
    )
    return [
        _ack_row(first, note),
        _overload_row(first, flood, note),
        _sustained_row(last, note),
        _prediction_row(last, note),
    ]


def _told(load: Load) -> str:
    words = [f"at {load.per_second:.0f}/s: {load.num_accepted} of {load.num_sent} accepted"]
    if load.acks:
        p50, p99 = (1000 * quantile(load.acks, level, seed=SEED)[0] for level in (0.5, 0.99))
        words.append(f"ack p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    words.append(f"sent late by {quantile(load.late, 0.99, seed=SEED)[0]:.1f} s at p99")
    words.append(f"owed at the end {load.backlog[-1]} (most {max(load.backlog)})")
    if load.stored:
        p50, p99 = (quantile(load.stored, level, seed=SEED)[0] for level in (0.5, 0.99))
        words.append(f"prediction p50 {p50:.1f} s, p99 {p99:.1f} s")
        words.append(f"{100 * load.share_within(_SOON_SECONDS):.0f} % within {_SOON_SECONDS:.0f} s")
    return ", ".join(words)


def _ack_row(load: Load, note: str) -> BenchmarkRow:
    value, interval = quantile([1000 * each for each in load.acks], 0.99, seed=SEED)
    return measured(
        clock=SystemClock(),
        id="intake.ack_p99_ms",
        value=value,
        unit="ms",
        better=Better.LOWER,
        goal=250.0,
        interval=interval,
        n=len(load.acks),
        seeds=(SEED,),
        command=COMMAND,
        baselines={"events/s": load.per_second, "refused": load.num_sent - load.num_accepted},
        note=note,
    )


def _overload_row(load: Load, flood: Load, note: str) -> BenchmarkRow:
    usual, _ = quantile(load.acks, 0.99, seed=SEED)
    value, interval = quantile([each / usual for each in flood.acks], 0.99, seed=SEED)
    return measured(
        clock=SystemClock(),
        id="intake.overload_ack_ratio",
        value=value,
        unit="of the p99 without overload",
        better=Better.LOWER,
        goal=2.0,
        interval=interval,
        n=len(flood.acks),
        seeds=(SEED,),
        command=COMMAND,
        baselines={
            "refused": flood.num_sent - flood.num_accepted,
            "of them without Retry-After": flood.num_refused_without_a_moment,
        },
        note=note,
    )


def _sustained_row(load: Load, note: str) -> BenchmarkRow:
    return measured(
        clock=SystemClock(),
        id="intake.sustained_events_per_s",
        value=load.per_second if load.is_sustained else 0.0,
        unit="events/s",
        better=Better.HIGHER,
        goal=150.0,
        n=load.num_sent,
        command=COMMAND,
        note=f"The highest of the rates tried at which no backlog grew; 0 where at none. {note}",
    )


def _prediction_row(load: Load, note: str) -> BenchmarkRow:
    value, interval = quantile(load.stored, 0.99, seed=SEED)
    middle, _ = quantile(load.stored, 0.5, seed=SEED)
    return measured(
        clock=SystemClock(),
        id="intake.webhook_to_prediction",
        value=value,
        unit="s at p99",
        better=Better.LOWER,
        interval=interval,
        n=len(load.stored),
        seeds=(SEED,),
        command=COMMAND,
        baselines={
            "p50, s": middle,
            "events/s": load.per_second,
            "without a prediction": load.num_without_prediction,
        },
        note=f"From receipt to the first stored prediction that had the event, at that rate. {note}",
    )
