"""Comparing plans in tests: the shipped model in this process, and a shipped patient to ask about.

The shipped checkpoint may lack probes of behaviour; those here say the same of every patient, so
that what is tested is everything around them. How they are fitted is tested where they are.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from uuid import UUID

from adapters.fhir.reader import BulkReader
from clinical.prediction.plan import PlanComparison, PlanQuestion
from clinical.prediction.request import PredictionRequest
from clinical.services.delivery import Delivery, Door
from clinical.timeline.event import Event, EventKind
from clinical.timeline.timeline import Timeline
from clinical.worldmodel import checkpoint
from clinical.worldmodel.behaviour import probe_name
from clinical.worldmodel.inference import Inference
from clinical.worldmodel.planning import Planner
from clinical.worldmodel.probe import Probe, Probes
from pipelines.commands.processes import shipped_checkpoint
from pipelines.samples import demo_bundles


@dataclass(frozen=True)
class LocalPlanModel:
    """Implements the port `PlanModel` without a process of its own."""

    planner: Planner

    def plannable(self, actions: tuple[str, ...]) -> tuple[bool, ...]:
        return self.planner.plannable(actions)

    def compare_plans(self, question: PlanQuestion, timeline: Timeline) -> PlanComparison:
        return self.planner.compare(question, timeline)


def constant_probes(inference: Inference, log_odds: float) -> Probes:
    """Every action of the vocabulary as usual as every other, for everybody."""
    config = inference.model.config
    zeros, ones = (0.0,) * config.width, (1.0,) * config.width
    return Probes(
        behaviour=tuple(
            Probe(
                name=probe_name(action, config),
                mean=zeros,
                scale=ones,
                weights=zeros,
                bias=log_odds,
            )
            for action in inference.tensorizer.vocabulary.actions
        )
    )


def checkpoint_with(probes: Probes, out: Path) -> Path:
    """The shipped checkpoint with these probes in it, named in its manifest as every file is."""
    shutil.copytree(shipped_checkpoint(), out)
    content = probes.to_json().encode()
    (out / checkpoint.PROBES).write_bytes(content)
    manifest = json.loads((out / checkpoint.MANIFEST).read_text())
    manifest["files"][checkpoint.PROBES] = hashlib.sha256(content).hexdigest()
    (out / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    return out


@cache
def local_model(log_odds: float | None = -1.0) -> LocalPlanModel:
    """The shipped model; with None it cannot say how usual anything is."""
    inference = checkpoint.load(shipped_checkpoint())
    probes = Probes() if log_odds is None else constant_probes(inference, log_odds)
    return LocalPlanModel(Planner(inference=replace(inference, probes=probes)))


def shipped_patient() -> Sequence[Event]:
    """The events of a living shipped patient of whom the shipped model says something."""
    return shipped_bundle()[1]


@cache
def shipped_bundle() -> tuple[bytes, Sequence[Event]]:
    """That patient's Bundle and events."""
    model = local_model()
    for number, (_, body) in enumerate(demo_bundles()):
        delivery = Delivery(
            delivery_id=UUID(int=number + 1),
            site="sample",
            door=Door.FHIR_BULK,
            sender_id="",
            body=body,
            content_type="application/fhir+json",
            received_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        events = BulkReader().read(delivery).events
        timeline = Timeline.of(events[0].patient_id, events)
        if any(event.kind is EventKind.DEATH for event in events) or not timeline.known_until:
            continue
        request = PredictionRequest(
            prediction_id=UUID(int=0),
            patient_id=timeline.patient_id,
            as_of=timeline.known_until,
            received_by=datetime(2030, 1, 1, tzinfo=UTC),
        )
        if model.planner.inference.forecast([(request, timeline)])[0].abstention is None:
            return body, events
    raise AssertionError("no shipped patient gets a forecast")
