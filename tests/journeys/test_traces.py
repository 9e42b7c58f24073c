"""One delivery seen from the webhook to the EHR, as traces of the real processes; and the worker's metrics."""

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.db.clinicians import Clinicians
from adapters.db.embedded import EmbeddedPostgres
from adapters.db.engine import create_engine
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.operations.tracing import ALLOWED_ATTRIBUTES
from clinical.timeline.patient import PatientRef
from pipelines.samples import demo_bundles
from tests.journeys.conftest import PASSWORD, SECRET, SITE
from tests.journeys.ehr import Ehr
from tests.journeys.visitor import Clinician, deliver
from tests.receiver import TraceReceiver
from tests.sites import write_sites_file
from tests.stack import CLINICAL, free_ports, up, wait_until

pytestmark = pytest.mark.integration

CANARY = "canary-of-a-patient"


def _bundle() -> tuple[bytes, str]:
    """The smallest sample patient who lives, with a name that must not be seen; and the record's id."""
    bodies = sorted((body for _, body in demo_bundles()), key=len)
    bundle = json.loads(next(body for body in bodies if b'"deceasedDateTime"' not in body))
    resources = [entry["resource"] for entry in bundle["entry"]]
    (patient,) = [each for each in resources if each["resourceType"] == "Patient"]
    patient["name"] = [{"family": CANARY}]
    return json.dumps(bundle).encode(), patient["id"]


def test_one_delivery_is_one_trace_to_the_review_and_the_sign_off_is_linked_to_it(
    tmp_path: Path,
) -> None:
    body, record_id = _bundle()
    metrics_port = free_ports(1)[0]
    with TraceReceiver() as receiver, Ehr() as ehr:
        settings = {
            "CLINICAL_WEBHOOK_SECRETS": json.dumps({SITE: [SECRET]}),
            "CLINICAL_SITES_FILE": str(write_sites_file(tmp_path, SITE, ehr.url)),
            "CLINICAL_TRACES_ENDPOINT": receiver.url,
            "CLINICAL_WORKER_METRICS_PORT": str(metrics_port),
        }
        with (
            up(tmp_path, settings) as (started, url),
            EmbeddedPostgres(tmp_path / "data" / "postgres") as server,
        ):
            engine = create_engine(server.url)
            open_unit_of_work = unit_of_work_factory(engine)
            Clinicians(engine).add("dr-adams", "Dr Adams", PASSWORD, "clinician")
            assert deliver(url, SITE, SECRET, body).status_code == 202

            def num_open() -> int:
                with open_unit_of_work() as uow:
                    patient_id = PatientRef(SITE, record_id).patient_id
                    return len(uow.reviews.open_for(patient_id))

            wait_until(num_open)
            with open_unit_of_work() as uow:
                (review,) = uow.reviews.open_for(PatientRef(SITE, record_id).patient_id)
            adams = Clinician(url, "dr-adams", PASSWORD)
            assert adams.sign(review.review_id, "agree", adams.claim(review.review_id)).is_success
            adams.close()
            wait_until(lambda: ehr.resources("RiskAssessment"))
            _require_worker_tells_metrics(metrics_port)
            probe = [*CLINICAL, "health", "worker"]
            done = subprocess.run(probe, env=started.environment, cwd=tmp_path, check=False)
            assert done.returncode == 0
            engine.dispose()
            assert started.stop() == 0  # the last spans are sent on stopping
        spans = receiver.spans()
        _require_joined(spans, str(review.review_id))
        sent = b"".join(receiver.bodies)
        for secret in (CANARY, record_id, str(review.patient_id), PASSWORD, "dr-adams"):
            assert secret.encode() not in sent
        assert {each.key for span in spans for each in span.attributes} <= ALLOWED_ATTRIBUTES
        assert receiver.processes() == {"clinical-web", "clinical-worker"}


def _named(spans: list[Any], name: str) -> Any:
    (span,) = [span for span in spans if span.name == name]
    return span


def _require_joined(spans: list[Any], review_id: str) -> None:
    delivered = _named(spans, "POST /v1/fhir/{site}")
    recorded, predicted = _named(spans, "delivery.record"), _named(spans, "prediction.make")
    asked = [each for each in spans if each.name == "model forecast"]
    assert [recorded.parent_span_id, predicted.parent_span_id] == [
        delivered.span_id,
        recorded.span_id,
    ]
    assert {each.parent_span_id for each in asked} == {predicted.span_id}
    assert {each.trace_id for each in (recorded, predicted, *asked)} == {delivered.trace_id}
    (opened,) = predicted.events
    assert (opened.name, opened.attributes[0].value.string_value) == ("review opened", review_id)
    signed = _named(spans, "POST /v1/reviews/{review_id}:sign")
    assert signed.trace_id != delivered.trace_id
    assert [each.trace_id for each in signed.links] == [delivered.trace_id]
    assert _named(spans, "review.write_back").parent_span_id == signed.span_id


def _require_worker_tells_metrics(port: int) -> None:
    told = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    for kind in ("delivery.record", "prediction.make"):
        assert f'clinical_message_attempts_total{{kind="{kind}",outcome="done"}} 1.0' in told
    assert 'clinical_forecasts_total{abstention="' in told
    assert "clinical_ledger_merge_delay_seconds_count" in told
    assert CANARY not in told
    health = httpx.get(f"http://127.0.0.1:{port}/health/ready", trust_env=False)
    assert (health.status_code, health.json()["status"]) == (200, "ready")
