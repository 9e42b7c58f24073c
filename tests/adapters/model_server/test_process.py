"""Real mosec on a real port: what callers of the model process can rely on."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import httpx
import psutil
import pytest

from adapters.model_server import wire
from adapters.model_server.client import (
    HttpModelServer,
    RefusedQuestionError,
)
from adapters.model_server.worker import is_ready
from clinical.prediction.prediction import Forecast
from clinical.services.ports import ModelBusyError, ModelUnavailableError
from tests.adapters.model_server.builders import (
    FINGERPRINT,
    STUB,
    free_port,
    question,
    stub_process,
)
from tests.adapters.model_server.stub_process import POISON_SEED

Result = TypeVar("Result")

pytestmark = pytest.mark.integration


def all_at_once(calls: list[Callable[[], Result]]) -> list[Result | Exception]:
    """The result or the error of each call, all begun together."""
    start = threading.Barrier(len(calls))

    def begin(call: Callable[[], Result]) -> Result | Exception:
        start.wait()
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - an error is a result here
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(begin, calls))


def ask(server: HttpModelServer, seed: int = 0) -> Callable[[], Forecast]:
    return lambda: server.forecast(*question(seed=seed))


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    """A process whose model takes a moment, so that questions gather while it is at work."""
    with stub_process(seconds=0.2) as base_url:
        yield base_url


@pytest.fixture
def server(server_url: str) -> Iterator[HttpModelServer]:
    client = HttpModelServer(server_url, 30.0)
    yield client
    client.close()


def test_questions_that_come_together_are_answered_in_one_batch(server: HttpModelServer) -> None:
    assert server.fingerprint() == FINGERPRINT
    assert server.forecast(*question()).familiarity == 1.0
    together = all_at_once([ask(server, seed=n) for n in range(8)])
    sizes = [f.familiarity for f in together if isinstance(f, Forecast)]
    assert len(sizes) == 8
    assert max(size or 0 for size in sizes) >= 4


def test_a_question_that_breaks_the_model_fails_alone(server: HttpModelServer) -> None:
    mixed = all_at_once([ask(server, seed=POISON_SEED - 4 + n) for n in range(8)])
    assert isinstance(mixed[4], ModelUnavailableError)
    assert all(isinstance(result, Forecast) for result in mixed[:4] + mixed[5:])


def test_bytes_that_are_no_question_are_refused_by_name_and_alone(
    server: HttpModelServer, server_url: str
) -> None:
    def garbage() -> wire.Answer:
        return wire.decode_answer(httpx.post(f"{server_url}/forecast", content=b"junk").content)

    beside = all_at_once([garbage, *[ask(server, seed=n) for n in range(5)]])
    assert isinstance(beside[0], wire.Refusal)
    assert beside[0].code == wire.UnreadableMessageError.code
    assert all(isinstance(result, Forecast) for result in beside[1:])


def test_a_slow_model_and_a_full_queue_mean_busy_never_an_answer() -> None:
    with stub_process(seconds=1.0, capacity=2, timeout_ms=2500, max_batch=1) as base_url:
        server = HttpModelServer(base_url, 30.0)
        results = all_at_once([ask(server) for _ in range(8)])
        refused = [result for result in results if isinstance(result, Exception)]
        assert {type(error) for error in refused} == {ModelBusyError}
        assert 1 <= len(results) - len(refused) <= 3
        assert server.forecast(*question()).familiarity == 1.0
        server.close()
    with stub_process(seconds=5.0, timeout_ms=500) as base_url:
        server = HttpModelServer(base_url, 30.0)
        with pytest.raises(ModelBusyError):
            server.forecast(*question())
        server.close()


def test_only_the_configured_address_is_listened_on_and_only_once_warm() -> None:
    with stub_process() as base_url:
        port = httpx.URL(base_url).port
        listening = {
            connection.laddr.ip
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        }
        assert listening == {"127.0.0.1"}
        second = subprocess.run(
            [sys.executable, str(STUB), str(port), "0", "8", "1000", "4"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert second.returncode != 0
        assert "AddressInUseError" in second.stderr
    assert not is_ready(base_url)


def test_a_model_that_cannot_be_loaded_ends_the_process_with_a_named_error() -> None:
    broken = subprocess.run(
        [sys.executable, str(STUB), str(free_port()), "not-a-number", "8", "1000", "4"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert broken.returncode != 0
    assert "ModelProcessFailedError" in broken.stderr


def test_what_is_sent_to_nowhere_is_refused_by_name(server: HttpModelServer) -> None:
    with pytest.raises(RefusedQuestionError):
        server._ask("/nowhere", b"x")


def test_the_largest_question_that_may_be_asked_reaches_the_model(server: HttpModelServer) -> None:
    answer = server._ask("/forecast", b"\x00" * wire.MAX_QUESTION_BYTES)
    assert isinstance(answer, wire.Refusal)
    assert answer.code == wire.UnreadableMessageError.code
