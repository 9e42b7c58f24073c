"""Told to stop under load: what was taken is answered, what runs is done or given back at once."""

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from adapters.db.embedded import EmbeddedPostgres
from adapters.db.migrate import upgrade
from adapters.model_server import wire
from adapters.model_server.worker import is_ready
from tests.adapters.model_server.builders import question
from tests.journeys.bundles import bundle, observation, patient
from tests.journeys.test_outages import Ward, said
from tests.journeys.visitor import deliver
from tests.stack import CLINICAL, Started, free_ports, is_live, wait_until

pytestmark = pytest.mark.integration
SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        upgrade(server.url)
        ward = Ward(tmp_path, server.url)
        yield ward
        ward.engine.dispose()


def _outcome(url: str, webhook_id: str) -> str:
    """How a delivery ended for its sender: its status, `refused` before it was sent, or `cut`."""
    body = bundle(patient(webhook_id), observation(webhook_id, webhook_id))
    try:
        return str(deliver(url, "ward", SECRET, body, webhook_id=webhook_id).status_code)
    except httpx.ConnectError:
        return "refused"
    except httpx.TransportError:
        return "cut"


def test_web_answers_everything_that_it_stored(ward: Ward) -> None:
    port = free_ports(1)[0]
    settings = {
        "CLINICAL_WEB_PORT": str(port),
        "CLINICAL_WEBHOOK_SECRETS": json.dumps({"ward": [SECRET]}),
    }
    url = f"http://127.0.0.1:{port}"
    outcomes: dict[str, str] = {}

    def send(sender: int) -> None:
        for number in range(1000):
            webhook_id = f"msg-{sender}-{number}"
            outcomes[webhook_id] = _outcome(url, webhook_id)
            if outcomes[webhook_id] == "refused":
                return

    with ward.start("web", **settings) as web:
        wait_until(lambda: is_live(url))
        with ThreadPoolExecutor(8) as pool:
            sending = [pool.submit(send, sender) for sender in range(8)]
            wait_until(lambda: list(outcomes.values()).count("202") >= 40)
            assert _health(web, "web") == 0
            assert web.stop() == 0
            for each in sending:
                each.result()
    with ward.engine.connect() as connection:
        stored = set(connection.execute(text("SELECT sender_id FROM deliveries")).scalars())
    answered = {webhook_id for webhook_id, outcome in outcomes.items() if outcome == "202"}
    assert set(outcomes.values()) <= {"202", "refused", "cut"}
    assert stored == answered


def test_a_worker_ends_what_it_runs_and_another_goes_on_without_waiting_for_a_lease(
    ward: Ward,
) -> None:
    """Leases last two minutes; nothing here may wait for one."""
    ward.receive_patients(30, "stopped")
    with ward.start("model") as model:
        wait_until(lambda: is_ready(f"http://127.0.0.1:{ward.port}"))
        with ward.start("worker", "--concurrency", "2") as first:
            wait_until(lambda: len(ward.predicted()) >= 3)
            assert first.stop() == 0
            assert first.wait_until_none_is_alive(seconds=5) == []
        began = time.monotonic()
        with ward.start("worker", "--concurrency", "2") as second:
            wait_until(lambda: not ward.num_waiting(), seconds=110)
            assert time.monotonic() - began < 110  # shorter than a lease
            assert len(ward.predicted()) == 30
            assert second.stop() == 0
        assert model.stop() == 0


def test_what_cannot_be_done_in_time_is_given_back_at_once(ward: Ward) -> None:
    """The model hangs, so the running message would take longer than anybody waits for a worker."""
    ward.receive_patients(1, "hanging")
    with ward.start("model") as model:
        wait_until(lambda: is_ready(f"http://127.0.0.1:{ward.port}"))
        hung = model.alive()
        for process in hung:
            process.suspend()
        try:
            with ward.start("worker", CLINICAL_WORKER_STOP_SECONDS="2") as worker:
                wait_until(lambda: _is_started(ward, "prediction.make"))
                assert worker.stop() == 0
                assert worker.wait_until_none_is_alive(seconds=5) == []
                assert said(worker, "event", "stopped before the work was done") == 1
        finally:
            for process in hung:
                process.resume()
        with ward.open_unit_of_work() as uow:
            (message,) = uow.outbox.claim(10, timedelta(seconds=60))
        assert message.kind == "prediction.make"
        assert model.stop() == 0


def _is_started(ward: Ward, kind: str) -> bool:
    question = text("SELECT count(*) FROM messages WHERE state = 'started' AND kind = :kind")
    with ward.engine.connect() as connection:
        return bool(connection.scalar(question, {"kind": kind}))


def test_the_model_answers_every_question_that_it_took(ward: Ward) -> None:
    url = f"http://127.0.0.1:{ward.port}"
    asked = wire.encode_question(*question(num_events=500))
    outcomes: list[str] = []

    def ask() -> None:
        while "refused" not in outcomes:
            try:
                answer = httpx.post(f"{url}/forecast", content=asked, timeout=60, trust_env=False)
                outcomes.append(str(answer.status_code))
            except httpx.ConnectError:
                outcomes.append("refused")
            except httpx.TransportError:
                outcomes.append("cut")

    with ward.start("model") as model:
        wait_until(lambda: is_ready(url))
        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            wait_until(lambda: outcomes.count("200") >= 8)
            assert _health(model, "model") == 0
            assert model.stop() == 0
            for each in asking:
                each.result()
        assert model.wait_until_none_is_alive(seconds=5) == []
    # While it ends it says that it is not available, which the worker waits out.
    assert set(outcomes) <= {"200", "503", "refused"}
    assert outcomes.count("200") >= 8
    assert _health(model, "model") == 1


def _health(started: Started, process: str) -> int:
    """The status with which `clinical health` ends, asked with the same settings."""
    program = [*CLINICAL, "health", process]
    return subprocess.run(
        program, env=started.environment, cwd=started.output.parent, check=False
    ).returncode
