"""The dashboard and the alerts ask for what is exported, and show all of it."""

import json
import re
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from adapters.http.metrics import WebMetrics
from adapters.operations.figures import Heartbeat, OperatingFigures, Waiting
from adapters.operations.metrics import (
    ModelMetrics,
    OperatingCollector,
    WorkerMetrics,
    exposition,
)

ROOT = Path(__file__).parents[3]
DASHBOARD = json.loads((ROOT / "docs/grafana/clinical-jepa.json").read_text())
ALERTS = yaml.safe_load((ROOT / "docs/prometheus/alerts.yml").read_text())
# Of mosec; that they are what the model process exports is tested on the running process.
OF_THE_MODEL_PROCESS = {
    "clinical_model_batch_size_count",
    "clinical_model_batch_size_sum",
    "clinical_model_process_duration_second_bucket",
    "clinical_model_remaining_task",
    "clinical_model_throughput_total",
}


def _figures() -> OperatingFigures:
    waiting = Waiting(kind="prediction.make", state="waiting", num=1, oldest_seconds=1.0)
    heard = Heartbeat(
        worker="w",
        seconds_ago=1.0,
        relay_trouble="",
        num_unsequenced=0,
        oldest_unsequenced_seconds=0.0,
    )
    return OperatingFigures(
        owed=(waiting,),
        given_up=(("prediction.make", 1),),
        open_reviews=(waiting,),
        heartbeats=(heard,),
    )


def _exported() -> dict[str, set[str]]:
    """The samples of each family that web and worker export once everything happened once."""
    others = CollectorRegistry()
    model = ModelMetrics(others)
    web, worker = WebMetrics(lambda: {"messages owed": 1}, _figures, others), WorkerMetrics()
    worker.registry.register(OperatingCollector(_figures))
    for asker in (model, worker):
        asker.asked("forecast", "answered", 0.1)
        asker.answered("")
    web.observe("/", "GET", 200, 0.1)
    web.delivered("fhir", is_new=True)
    web.carded("patient-view", "shown")
    web.prefetched("satisfied")
    worker.attempted("id", "prediction.make", "done", 0.1)
    worker.merged([0.5])
    text = web.exposition()[0] + exposition(worker.registry)[0]
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text.decode()):
        samples = {sample.name for sample in family.samples}
        found.setdefault(family.name, set()).update(samples)
    return found


def _asked(expressions: list[str]) -> set[str]:
    return {
        name
        for each in expressions
        for name in re.findall(r"\b(?:clinical|process)_[a-z_]+", re.sub(r'"[^"]*"', "", each))
    }


def _of_dashboard() -> set[str]:
    targets = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return _asked([target["expr"] for target in targets])


def _of_alerts() -> set[str]:
    return _asked([rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]])


def test_everything_that_is_asked_for_is_exported() -> None:
    samples = {sample for samples in _exported().values() for sample in samples}
    assert _of_dashboard() - OF_THE_MODEL_PROCESS <= samples
    assert _of_alerts() <= samples
    assert _of_dashboard() >= OF_THE_MODEL_PROCESS


def test_everything_of_ours_that_is_exported_is_shown() -> None:
    shown = _of_dashboard()
    hidden = {
        family
        for family, samples in _exported().items()
        if family.startswith("clinical_") and not shown & samples
    }
    assert hidden == set()


def test_the_panels_of_a_dashboard_do_not_share_an_id_or_a_place() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
