"""`clinical bench cds`: a whole site that EHRs ask by CDS Hooks, everything durable, over real HTTP.

Records are opened at a steady rate, then orders drafted, each of them one that the model never saw.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from adapters.assembly import keys
from adapters.assembly.embedded import running
from adapters.assembly.worker import Parts, open_parts
from adapters.clock import SystemClock
from pipelines.commands.processes import commands
from pipelines.demo import SITE, SignedWebhook, send, wait_until_done
from pipelines.evaluation import cds_calls
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured
from pipelines.evaluation.cds_calls import Answers, BenchEhr
from pipelines.evaluation.timing import quantile
from pipelines.samples import demo_bundles

COMMAND = "clinical bench cds"
SEED = 0
_GOAL_MS = 500.0


def run(
    *,
    rate: float,
    order_rate: float,
    seconds: float,
    num_patients: int,
    say: Callable[[str], None],
) -> list[BenchmarkRow]:
    """Measure; the rows `cds.view_p99_ms` and `cds.orders_p99_ms`.

    Raises:
        PortTakenError
    """
    with tempfile.TemporaryDirectory(prefix="clinical-bench-") as place:
        folder, ehr = Path(place), BenchEhr(SITE)
        with running(
            commands(),
            data_dir=folder / "data",
            web_port=0,
            site=SITE,
            sites_file=ehr.write_sites_file(folder),
        ) as site:
            say("Starting web, worker and model …")
            site.wait_until_ready("web", "worker", "model")
            parts = open_parts(site.settings, site.database_url)
            webhook = SignedWebhook(
                web_url=site.web_url, secret=keys.webhook_secret(site.settings, SITE)
            )
            for num_sent in send(parts, list(demo_bundles())[:num_patients], webhook):
                say(f"Sent {num_sent} of {num_patients} patients …")
            wait_until_done(parts, lambda left: say(f"{left} pieces of work are owed …"))
            patients, now = _patients(parts), parts.clock.now()
            for patient in patients:
                webhook.deliver(cds_calls.measurement(patient, now))
            wait_until_done(parts, lambda left: say(f"{left} pieces of work are owed …"))
            say(f"{rate:.0f} records a second are opened …")
            views = [
                ehr.view(patients[number % len(patients)], now)
                for number in range(int(rate * seconds))
            ]
            web = psutil.Process(site.children["web"].process.pid)
            before = web.cpu_times()
            viewed = cds_calls.send(site.web_url, views, rate)
            viewed.cpu_seconds = sum(web.cpu_times()[:2]) - sum(before[:2])
            say(f"{order_rate:.0f} orders a second are drafted …")
            orders = [
                ehr.select(patients[number % len(patients)], number, now)
                for number in range(int(order_rate * seconds))
            ]
            ordered = cds_calls.send(site.web_url, orders, order_rate)
    return [
        _row("cds.view_p99_ms", viewed, _view_note(viewed, seconds, num_patients)),
        _row("cds.orders_p99_ms", ordered, _order_note(ordered, seconds, num_patients)),
    ]


def _patients(parts: Parts) -> list[str]:
    """The EHR's ids of all patients of whom something was foretold."""
    with parts.open_unit_of_work() as uow:
        known = sorted({prediction.request.patient_id for prediction in uow.predictions.all()})
        return [uow.timelines.patient(each).record_id for each in known]


def _row(name: str, answers: Answers, note: str) -> BenchmarkRow:
    milliseconds = [1000 * each for each in answers.seconds]
    value, interval = quantile(milliseconds, 0.99, seed=SEED)
    middle, _ = quantile(milliseconds, 0.5, seed=SEED)
    return measured(
        clock=SystemClock(),
        id=name,
        value=value,
        unit="ms",
        better=Better.LOWER,
        goal=_GOAL_MS,
        interval=interval,
        n=len(milliseconds),
        seeds=(SEED,),
        command=COMMAND,
        baselines={
            "p50, ms": middle,
            "calls/s": answers.per_second,
            "not answered 200": answers.num_sent - len(milliseconds),
        },
        note=note,
    )


def _told(answers: Answers, seconds: float, num_patients: int) -> str:
    late = quantile(answers.late, 0.99, seed=SEED)[0]
    return (
        f"{answers.num_sent} calls, each with a token of its own (ES384, checked and used up in the"
        f" database) over {seconds:.0f} s for {num_patients} sample patients, {cds_calls.NUM_SENDERS}"
        f" senders; sent late by {1000 * late:.0f} ms at p99. Senders, embedded PostgreSQL (durable), web,"
        " worker and model on the same cores"
    )


def _view_note(answers: Answers, seconds: float, num_patients: int) -> str:
    return (
        f"patient-view: the card of the stored forecast, with its audit entry committed."
        f" {answers.num_forecasts} cards had a forecast; web took"
        f" {1000 * answers.cpu_seconds / max(answers.num_sent, 1):.1f} ms of processor time for each call."
        f" {_told(answers, seconds, num_patients)}."
    )


def _order_note(answers: Answers, seconds: float, num_patients: int) -> str:
    return (
        f"order-select with a dose that was never asked about: {answers.num_courses} cards had the course"
        f" with and without the draft, the others a sentence instead (too slow, abstained, or not usual)."
        f" {_told(answers, seconds, num_patients)}."
    )
