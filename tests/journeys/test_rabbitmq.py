"""As in production: an external PostgreSQL, RabbitMQ, several workers, and kills while they work."""

import hashlib
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kombu.connection import Connection

from adapters.db.embedded import EmbeddedPostgres
from adapters.db.migrate import upgrade
from adapters.model_server.worker import is_ready
from tests.journeys.bundles import bundle, observation, patient
from tests.journeys.conftest import SECRET, SITE
from tests.journeys.test_outages import Ward
from tests.journeys.visitor import deliver
from tests.rabbitmq import RabbitMq, program
from tests.required import is_absent
from tests.stack import Started, free_ports, is_live, wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.rabbitmq,
]

NUM_PATIENTS = 40


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RabbitMq]:
    if program() is None:
        is_absent("RabbitMQ")
    with RabbitMq(tmp_path / "rabbitmq") as running:
        yield running


@pytest.fixture
def ward(tmp_path: Path, broker: RabbitMq) -> Iterator[Ward]:
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        upgrade(server.url)
        ward = Ward(tmp_path, server.url)
        ward.settings |= {
            "CLINICAL_BROKER_URL": broker.url,
            "CLINICAL_WEBHOOK_SECRETS": json.dumps({SITE: [SECRET]}),
            "CLINICAL_SESSION_KEY": "k" * 40,
            "CLINICAL_WEB_PORT": str(free_ports(1)[0]),
            "CLINICAL_LEASE_SECONDS": "5",
        }
        yield ward
        ward.engine.dispose()


def test_killing_workers_and_broker_while_they_work_loses_nothing_and_does_nothing_twice(
    ward: Ward, broker: RabbitMq
) -> None:
    chance = random.Random(7)
    web_url = f"http://127.0.0.1:{ward.settings['CLINICAL_WEB_PORT']}"
    with ward.start("web") as web, ward.start("model") as model:
        with ward.start("worker") as one, ward.start("worker", "--concurrency", "2") as two:
            wait_until(lambda: is_live(web_url) and is_ready(f"http://127.0.0.1:{ward.port}"))
            began = time.monotonic()
            for number in range(NUM_PATIENTS):
                record_id = f"r-{number}"
                body = bundle(patient(record_id), observation(record_id, record_id))
                assert deliver(web_url, SITE, SECRET, body).status_code == 202
                if number in {8, 16, 24}:
                    _kill_a_child(one if number == 16 else two, chance)
                if number == 30:
                    # RabbitMQ 3.10 cannot recover a queue that is killed within seconds of its birth.
                    wait_until(lambda: time.monotonic() - began > 8)
                    broker.kill()
                    broker.start()
            wait_until(lambda: not ward.num_waiting(), seconds=90)
            assert ward.num_patients() == NUM_PATIENTS
            assert len(ward.predicted()) == NUM_PATIENTS
            with ward.open_unit_of_work() as uow:
                reviews = [len(uow.reviews.open_for(each)) for each in ward.predicted()]
            assert reviews == [1] * NUM_PATIENTS
            for started in (one, two):
                assert started.stop() == 0
                assert started.wait_until_none_is_alive(seconds=5) == []
        assert model.stop() == 0
        assert web.stop() == 0
    assert broker.depth("clinical") == 0


def _kill_a_child(worker: Started, chance: random.Random) -> None:
    """Kill one of the pool's processes, whatever it is doing."""

    def pool() -> list[psutil.Process]:
        children = psutil.Process(worker.process.pid).children()
        return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]

    wait_until(pool)
    chance.choice(pool()).kill()


def test_what_no_worker_can_read_is_set_aside_without_its_content_and_stalls_nothing(
    ward: Ward, broker: RabbitMq
) -> None:
    junk: list[tuple[bytes, dict[str, object], str]] = [
        (b"Anna Bell is no JSON", {"task": "clinical.work", "id": "1"}, "application/json"),
        (b"Anna Bell in no task", {}, "text/plain"),
        (b'[["Anna Bell"], {}, {}]', {"task": "clinical.work", "id": "2"}, "application/json"),
        (b"[[], {}, {}]", {"task": "clinical.work", "id": "3"}, "application/json"),
        (b"[[1], {}, {}]", {"task": "someone.elses", "id": "4"}, "application/json"),
        (b"\x80\x04N.", {"task": "clinical.work", "id": "5"}, "application/x-python-serialize"),
    ]
    with ward.start("worker") as worker:
        ward.receive_patients(1, "before-junk")  # then the queues are there, and bound
        wait_until(lambda: ward.num_patients() == 1)
        with Connection(broker.url) as connection:
            producer = connection.Producer(routing_key="clinical")
            for body, headers, content_type in junk:
                producer.publish(
                    body,
                    exchange="clinical",
                    headers=headers,
                    content_type=content_type,
                    content_encoding="utf-8",
                )
        ward.receive_patients(3, "beside-junk")
        wait_until(lambda: ward.num_patients() == 4)
        wait_until(lambda: len(ward.buried()) == len(junk))
        assert {each.letter.reason for each in ward.buried()} == {"unreadable"}
        digests = {hashlib.sha256(body).hexdigest() for body, _, _ in junk}
        assert {each.letter.digest for each in ward.buried()} == digests
        assert "Bell" not in worker.text()
        assert worker.stop() == 0
    assert broker.depth("clinical.dead") == 0
