"""Health, metrics and headers: they tell the truth, and nothing of a patient."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from adapters.db.engine import create_engine
from adapters.http.app import create_app
from tests.adapters.http.conftest import Stage, StageClock, dependencies, served
from tests.adapters.http.stage import StagedModel

pytestmark = pytest.mark.integration


def test_ready_names_the_model_and_what_is_owed(stage: Stage) -> None:
    answer = stage.get("/health/ready")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "status": "ready",
            "database": {"is_well": True, "detail": "answers"},
            "model": {"is_well": True, "detail": "staged 1.0"},
            "outbox_backlog": 0,
        },
    )


def test_without_the_model_it_is_degraded_and_still_takes_deliveries(stage: Stage) -> None:
    stage.model.is_away = True
    answer = stage.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["model"] == {"is_well": False, "detail": "model.unavailable"}
    stage.sign_in()
    assert stage.get("/v1/models/current").status_code == 503


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


def test_the_description_of_the_api_says_what_is_answered(stage: Stage) -> None:
    described = stage.get("/openapi.json").json()
    shapes = described["components"]["schemas"]
    taken_in = {"Credentials", "Signature", "PlanPick", "PlanWishesShape"}
    for name, shape in shapes.items():
        if name not in taken_in and shape.get("type") == "object":
            assert set(shape.get("required", [])) == set(shape.get("properties", {})), name
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            if path != "/metrics" and "204" not in operation["responses"]:
                good = next(a for s, a in operation["responses"].items() if s.startswith("2"))
                is_text = path.startswith("/v1/ledger") and "text/plain" in good["content"]
                assert is_text or "$ref" in str(good), (method, path)
            for status, answer in operation["responses"].items():
                if status.startswith(("4", "5")) and path != "/health/ready":
                    assert "application/problem+json" in answer["content"], (method, path, status)
    assert "HTTPValidationError" not in str(described)


def test_a_secret_of_the_wrong_shape_is_found_when_the_process_starts() -> None:
    from adapters.http.signatures import StandardWebhooks

    with pytest.raises(ValueError, match="base64"):
        StandardWebhooks(["whsec_" + base64.b64encode(b"fine").decode(), "whsec_a"])
