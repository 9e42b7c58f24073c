"""How an outside system is called: only where a site said, within limits, and by name when it fails."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from adapters.clock import SystemClock
from adapters.egress.breaker import CircuitBreaker
from adapters.egress.errors import (
    CircuitOpenError,
    ForeignAddressError,
    OversizedAnswerError,
    PeerBusyError,
    PeerRefusedError,
    PeerUnavailableError,
    UnreadableAnswerError,
)
from adapters.egress.peer import REQUEST_ID, Bounds, Peer, retry_after
from tests.fakes import NOON, SettableClock

Answer = Callable[[httpx.Request], httpx.Response]


def peer(
    answer: Answer,
    *,
    base_url: str = "https://ehr.example/fhir",
    max_failures: int = 3,
    **bounds: Any,
) -> Peer:
    clock = SettableClock(NOON)
    breaker = CircuitBreaker(clock, max_failures=max_failures, pause=timedelta(seconds=30))
    transport = httpx.MockTransport(answer)
    return Peer(Bounds(base_url=base_url, **bounds), clock, breaker, transport=transport)


def test_a_path_is_asked_below_the_base_with_what_is_given() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"a": 1})

    got = peer(answer).ask("POST", "Patient/1", headers={"Accept": "x"}, content=b"{}")
    assert got.document() == {"a": 1}
    assert str(seen[0].url) == "https://ehr.example/fhir/Patient/1"
    assert (seen[0].headers["accept"], seen[0].content) == ("x", b"{}")


def test_on_whose_behalf_it_is_asked_goes_along_and_only_then() -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("x-request-id"))
        return httpx.Response(200)

    ehr = peer(answer)
    ehr.ask("GET")
    token = REQUEST_ID.set("r-7")
    ehr.ask("GET")
    REQUEST_ID.reset(token)
    assert seen == [None, "r-7"]


@pytest.mark.parametrize(
    "address",
    [
        "https://elsewhere.example/fhir/Patient/1",
        "http://ehr.example/fhir/Patient/1",
        "https://ehr.example:8443/fhir/Patient/1",
        "https://user:pass@ehr.example/fhir/Patient/1",
        "https://ehr.example@elsewhere.example/",
        "https://ehr.example.elsewhere.example/",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://[::1]/",
        "https:///nothing",
    ],
)
def test_nothing_is_fetched_from_an_address_that_no_site_registered(address: str) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise AssertionError("something was sent")

    with pytest.raises(ForeignAddressError):
        peer(answer).ask("GET", address)


def test_a_further_origin_may_be_registered_such_as_that_of_bulk_files() -> None:
    files = peer(lambda _: httpx.Response(200), also=("https://files.example",))
    assert files.ask("GET", "https://files.example/1.ndjson").status == 200


def test_plain_http_is_refused_unless_the_site_allows_it_or_it_is_this_machine() -> None:
    def ok(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200)

    with pytest.raises(ForeignAddressError):
        peer(ok, base_url="http://ehr.example/fhir")
    assert peer(ok, base_url="http://ehr.example", allows_plain_http=True).ask("GET").status == 200
    assert peer(ok, base_url="http://127.0.0.1:1/fhir").ask("GET").status == 200


def test_a_redirect_is_a_refusal_and_is_not_followed() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"location": "https://elsewhere.example"})

    with pytest.raises(PeerRefusedError) as raised:
        peer(answer).ask("GET")
    assert raised.value.status == 302
    assert len(asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 412, 422, 501])
def test_a_refusal_keeps_its_status_and_its_body_but_not_in_the_message(status: int) -> None:
    with pytest.raises(PeerRefusedError) as raised:
        peer(lambda _: httpx.Response(status, text="Ada Lovelace")).ask("GET")
    assert (raised.value.status, raised.value.body) == (status, b"Ada Lovelace")
    assert "Ada" not in str(raised.value)


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504])
def test_a_failure_may_pass(status: int) -> None:
    with pytest.raises(PeerUnavailableError):
        peer(lambda _: httpx.Response(status)).ask("GET")


@pytest.mark.parametrize(("status", "said"), [(429, "7"), (503, "7")])
def test_who_asks_to_be_left_alone_says_for_how_long(status: int, said: str) -> None:
    with pytest.raises(PeerBusyError) as raised:
        peer(lambda _: httpx.Response(status, headers={"retry-after": said})).ask("GET")
    assert raised.value.retry_after == timedelta(seconds=7)


def test_a_week_is_cut_to_what_the_site_puts_up_with() -> None:
    busy = httpx.Response(429, headers={"retry-after": "604800"})
    with pytest.raises(PeerBusyError) as raised:
        peer(lambda _: busy, max_pause=timedelta(minutes=10)).ask("GET")
    assert raised.value.retry_after == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120", timedelta(minutes=2)),
        ("Fri, 01 Mar 2024 12:00:30 GMT", timedelta(seconds=30)),
        ("Fri, 01 Mar 2024 11:00:00 GMT", timedelta(0)),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("9" * 400, timedelta(seconds=10**9)),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, expected: timedelta | None) -> None:
    noon = SettableClock(datetime(2024, 3, 1, 12, tzinfo=UTC))
    assert retry_after(text, noon) == expected


def test_an_answer_that_is_too_large_is_left_unread() -> None:
    with pytest.raises(OversizedAnswerError):
        peer(lambda _: httpx.Response(200, content=b"x" * 100), max_answer_bytes=99).ask("GET")


@pytest.mark.parametrize("body", [b"<html>", b"", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_a_named_error(body: bytes) -> None:
    got = peer(lambda _: httpx.Response(200, content=body)).ask("GET")
    with pytest.raises(UnreadableAnswerError):
        got.json()


def test_json_that_is_no_object_is_no_document() -> None:
    got = peer(lambda _: httpx.Response(200, json=[1])).ask("GET")
    with pytest.raises(UnreadableAnswerError):
        got.document()


def test_who_keeps_failing_is_left_alone_and_tried_again_after_the_pause() -> None:
    clock = SettableClock(NOON)
    breaker = CircuitBreaker(clock, max_failures=2, pause=timedelta(seconds=30))
    status = [500]
    asked: list[int] = []

    def answer(_: httpx.Request) -> httpx.Response:
        asked.append(1)
        return httpx.Response(status[0])

    transport = httpx.MockTransport(answer)
    ehr = Peer(Bounds(base_url="https://ehr.example"), clock, breaker, transport=transport)
    for _ in range(2):
        with pytest.raises(PeerUnavailableError):
            ehr.ask("GET")
    with pytest.raises(CircuitOpenError) as raised:
        ehr.ask("GET")
    assert raised.value.retry_after == timedelta(seconds=30)
    assert len(asked) == 2
    clock.advance(timedelta(seconds=31))
    status[0] = 200
    assert ehr.ask("GET").status == 200
    assert ehr.ask("GET").status == 200


def test_while_one_tries_an_open_circuit_the_others_wait() -> None:
    clock = SettableClock(NOON)
    breaker = CircuitBreaker(clock, max_failures=1, pause=timedelta(seconds=30))
    breaker.failed()
    clock.advance(timedelta(seconds=30))
    breaker.require_closed()
    with pytest.raises(CircuitOpenError):
        breaker.require_closed()


def test_a_refusal_is_an_answer_and_opens_no_circuit() -> None:
    ehr = peer(lambda _: httpx.Response(404), max_failures=1)
    for _ in range(3):
        with pytest.raises(PeerRefusedError):
            ehr.ask("GET")


class Token:
    """Gives another token each time the last one was forgotten."""

    def __init__(self) -> None:
        self.number = 1

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.number}"}

    def forget(self) -> None:
        self.number += 1

    def close(self) -> None:
        pass


def _with_token(answer: Answer) -> Peer:
    clock = SettableClock(NOON)
    breaker = CircuitBreaker(clock, max_failures=3, pause=timedelta(seconds=30))
    return Peer(
        Bounds(base_url="https://ehr.example"),
        clock,
        breaker,
        authorize=Token(),
        transport=httpx.MockTransport(answer),
    )


def test_a_refused_token_is_forgotten_and_a_new_one_tried_once() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200 if len(seen) == 2 else 401)

    assert _with_token(answer).ask("GET").status == 200
    assert seen == ["Bearer 1", "Bearer 2"]


def test_a_second_refusal_stands() -> None:
    with pytest.raises(PeerRefusedError) as raised:
        _with_token(lambda _: httpx.Response(401)).ask("GET")
    assert raised.value.status == 401


@contextmanager
def served(act: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            act(self)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _real(url: str, **bounds: Any) -> Peer:
    clock = SystemClock()
    breaker = CircuitBreaker(clock, max_failures=3, pause=timedelta(seconds=30))
    return Peer(Bounds(base_url=url, **bounds), clock, breaker)


def test_a_server_that_says_nothing_for_ever_is_left() -> None:
    stop = threading.Event()
    with (
        served(lambda _: stop.wait(30) or None) as url,
        closing(_real(url, timeout_seconds=0.3)) as silent,
    ):
        with pytest.raises(PeerUnavailableError) as raised:
            silent.ask("GET")
        stop.set()
    assert raised.value.may_have_acted


def test_a_server_that_drips_for_ever_is_left() -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(50):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.005)

    seconds = iter(range(0, 10_000, 40))  # by this clock 40 pass with each piece
    clock = SystemClock()
    breaker = CircuitBreaker(clock, max_failures=3, pause=timedelta(seconds=30))
    with served(drip) as url:
        slow = Peer(Bounds(base_url=url), clock, breaker, elapsed=lambda: float(next(seconds)))
        with closing(slow), pytest.raises(PeerUnavailableError):
            slow.ask("GET")


def test_where_nobody_listens_nothing_can_have_been_done() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with closing(_real(url)) as away, pytest.raises(PeerUnavailableError) as raised:
        away.ask("GET")
    assert not raised.value.may_have_acted
