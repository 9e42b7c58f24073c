"""Health, metrics and headers: they tell the truth, and nothing of a patient."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from adapters.db import migrate
from adapters.db.engine import create_engine
from adapters.db.operating import Operating
from adapters.http import cds_schemas
from adapters.http.app import create_app
from adapters.operations.figures import Unsequenced
from tests.adapters.http.conftest import Stage, StageClock, dependencies, served
from tests.adapters.http.stage import FINGERPRINT, StagedModel

pytestmark = pytest.mark.integration


FAR_TOO_LONG = 86_400.0


def _beat(stage: Stage, trouble: str = "", unsequenced: Unsequenced | None = None) -> None:
    """A worker says how it goes."""
    Operating(stage.engine).beat("worker-1", trouble, unsequenced or Unsequenced())


def test_ready_names_every_part_the_model_and_what_is_owed(stage: Stage) -> None:
    _beat(stage)
    answer = stage.get("/health/ready")
    said = answer.json()
    assert (answer.status_code, said["status"], said["outbox_backlog"]) == (200, "ready", 0)
    assert all(said["can"].values())
    assert said["model"] == {"is_well": True, "detail": "staged 1.0"}
    assert said["model_digest"] == FINGERPRINT.manifest_digest
    assert said["revision"]["detail"] == migrate.newest()


@pytest.mark.parametrize(
    ("trouble", "unsequenced", "bad", "lost"),
    [
        ("OperationalError", Unsequenced(), "broker", {"understand_deliveries", "predict"}),
        (
            "",
            Unsequenced(num=1, oldest_seconds=FAR_TOO_LONG),
            "ledger",
            {"prove"},
        ),
    ],
)
def test_what_a_worker_says_is_told_and_what_it_costs(
    stage: Stage, trouble: str, unsequenced: Unsequenced, bad: str, lost: set[str]
) -> None:
    _beat(stage, trouble, unsequenced)
    answer = stage.get("/health/ready")
    said = answer.json()
    assert (answer.status_code, said["status"]) == (200, "degraded")
    assert not said[bad]["is_well"]
    assert {name for name, is_able in said["can"].items() if not is_able} == lost


def test_without_a_worker_deliveries_are_taken_in_and_reviews_signed(stage: Stage) -> None:
    answer = stage.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["worker"] == {"is_well": False, "detail": "worker.silent"}
    able = {name for name, is_able in answer.json()["can"].items() if is_able}
    assert able == {"take_deliveries", "review"}


def test_without_the_model_it_is_degraded_and_still_takes_deliveries(stage: Stage) -> None:
    _beat(stage)
    stage.model.is_away = True
    answer = stage.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["model"] == {"is_well": False, "detail": "model.unavailable"}
    can = answer.json()["can"]
    assert (can["take_deliveries"], can["understand_deliveries"], can["predict"]) == (1, 1, 0)
    stage.sign_in()
    assert stage.get("/v1/models/current").status_code == 503


def test_a_database_of_another_schema_is_unavailable_and_says_which(
    engine: Engine, database_url: str
) -> None:
    migrate.downgrade(database_url, "-1")
    with served(create_app(dependencies(engine, StageClock(), StagedModel()))) as client:
        answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert answer.json()["database"]["is_well"]
    assert "schema.behind" in answer.json()["revision"]["detail"]


def test_a_disk_that_is_nearly_full_is_told(engine: Engine) -> None:
    deps = dependencies(engine, StageClock(), StagedModel(), free_disk=lambda: 1024)
    with served(create_app(deps)) as client:
        answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["disk"] == {"is_well": False, "detail": "disk.full: 0 MiB free"}


@pytest.fixture
def cut_off() -> Iterator[httpx.Client]:
    """A web process whose database is not there."""
    engine = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nowhere")
    app = create_app(dependencies(engine, StageClock(), StagedModel()))
    with served(app) as client:
        yield client
    engine.dispose()


def test_without_the_database_it_is_unavailable_but_lives(cut_off: httpx.Client) -> None:
    assert cut_off.get("/health/live").status_code == 200
    answer = cut_off.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert answer.json()["outbox_backlog"] is None
    assert "nobody" not in answer.text
    assert "clinical_database_up 0.0" in cut_off.get("/metrics").text


def test_what_breaks_says_nothing_but_its_request_id(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks() -> Any:
        raise ValueError("canary of a patient")

    deps = dependencies(engine, StageClock(), StagedModel(), model_fingerprint=breaks)
    with served(create_app(deps)) as client:
        answer = client.get("/health/ready")
    assert answer.status_code == 500
    assert answer.json()["type"].endswith(":clinical.broken")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "canary" not in answer.text
    assert "canary" not in caplog.text


def test_metrics_count_requests_by_template_and_name_no_patient(stage: Stage) -> None:
    stage.sign_in()
    review_id = stage.add_patient("canary-patient")
    stage.get(f"/v1/reviews/{review_id}")
    stage.get("/v1/fhir/north/Patient/canary-record")
    text = stage.get("/metrics").text
    assert 'route="/v1/reviews/{review_id}",status="200"' in text
    assert 'clinical_stored{what="reviews queued"} 1.0' in text
    assert "canary" not in text
    assert str(review_id) not in text


def test_every_answer_carries_the_security_headers(stage: Stage) -> None:
    for path in ("/", "/v1/reviews", "/nowhere", "/static/review/main.js"):
        headers = stage.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "//" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        kept = "no-cache" if path.startswith("/static") else "no-store"
        assert headers["cache-control"] == kept
        assert "server" not in headers


NOT_SERVED = [
    ("GET", "/nowhere/canary", 404, "http.no_such_page"),
    ("GET", "/static/review/canary.js", 404, "http.no_such_page"),
    ("GET", "/static/%2e%2e/app.py", 404, "http.no_such_page"),
    ("PATCH", "/v1/reviews", 405, "http.method_not_allowed"),
    ("GET", "/docs", 404, "http.no_such_page"),
]


def test_an_address_that_is_not_served_is_a_problem_document(stage: Stage) -> None:
    for method, path, status, code in NOT_SERVED:
        answer = stage.client.request(method, path)
        assert answer.status_code == status, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"].endswith(f":{code}")
        assert "canary" not in answer.text


def _is_of_cds_hooks(name: str) -> bool:
    return isinstance(getattr(cds_schemas, name, None), type)


def test_the_description_of_the_api_says_what_is_answered(stage: Stage) -> None:
    described = stage.get("/openapi.json").json()
    shapes = described["components"]["schemas"]
    taken_in = {"Credentials", "Signature", "PlanPick", "PlanWishesShape"}
    # Of CDS Hooks no member may be null: what is not said is absent (2.0, "CDS Service Response").
    by_others_rules = {name for name in shapes if _is_of_cds_hooks(name)}
    for name, shape in shapes.items():
        is_ours = name not in taken_in | by_others_rules
        if is_ours and shape.get("type") == "object":
            assert set(shape.get("required", [])) == set(shape.get("properties", {})), name
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            if path != "/metrics" and "204" not in operation["responses"]:
                good = next(a for s, a in operation["responses"].items() if s.startswith("2"))
                is_text = path.startswith("/v1/ledger") and "text/plain" in good["content"]
                is_empty = "content" not in good
                assert is_text or is_empty or "$ref" in str(good), (method, path)
            for status, answer in operation["responses"].items():
                if status.startswith(("4", "5")) and path != "/health/ready":
                    assert "application/problem+json" in answer["content"], (method, path, status)
    assert "HTTPValidationError" not in str(described)


def test_a_secret_of_the_wrong_shape_is_found_when_the_process_starts() -> None:
    from adapters.http.signatures import StandardWebhooks

    with pytest.raises(ValueError, match="base64"):
        StandardWebhooks(["whsec_" + base64.b64encode(b"fine").decode(), "whsec_a"])
