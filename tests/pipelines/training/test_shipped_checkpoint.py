"""The shipped checkpoint: whole, small, and speaks about patients it has never seen."""

import hashlib
import json
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

import pytest

from adapters.fhir.reader import BulkReader
from clinical.services.delivery import Delivery, Door
from clinical.timeline.timeline import Timeline
from clinical.worldmodel import checkpoint
from pipelines.samples import FOLDER, demo_bundles
from tests.clinical.worldmodel.patients import question

SHIPPED = FOLDER / "checkpoints" / "synthea-small"


@pytest.fixture(scope="module")
def demo_timelines() -> list[Timeline]:
    timelines = []
    for _, body in islice(demo_bundles(), 10):
        digest = hashlib.sha256(body)
        delivery = Delivery(
            delivery_id=UUID(bytes=digest.digest()[:16]),
            site="demo",
            door=Door.FHIR_BULK,
            sender_id=digest.hexdigest(),
            body=body,
            content_type="application/fhir+json",
            received_at=datetime(2021, 7, 1, tzinfo=UTC),
        )
        events = BulkReader().read(delivery).events
        timelines.append(Timeline.of(events[0].patient_id, events))
    return timelines


def test_it_loads_and_is_under_three_megabytes():
    checkpoint.load(SHIPPED)
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 3_000_000


def test_it_foretells_quantities_and_risks_of_patients_it_was_not_trained_on(
    demo_timelines: list[Timeline],
):
    forecasts = checkpoint.load(SHIPPED).forecast([question(t) for t in demo_timelines])
    said = [f for f in forecasts if f.abstention is None]
    assert len(said) >= 5
    estimated = [r for f in said for r in f.readouts if r.estimate is not None]
    assert {r.kind for r in estimated} == {"quantity", "probability"}
    assert any(r.name == "Emergency visit" and r.horizon.label == "0-365 d" for r in estimated)
    for readout in estimated:
        for interval in readout.intervals:
            assert interval.low <= readout.estimate <= interval.high  # type: ignore[operator]


def test_its_card_is_honest_and_tells_whose_patients_they_are():
    card = (SHIPPED / "MODEL_CARD.md").read_text()
    for sentence in (
        "Not for clinical use",
        "Synthea",
        "Apache",
        "Boston Children's",
        "Where it loses",
    ):
        assert sentence in card
    manifest = json.loads((SHIPPED / "manifest.json").read_text())
    for gate in manifest["training"]["gates"]:
        assert gate["name"] in card
