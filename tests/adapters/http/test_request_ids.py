"""X-Request-Id goes through all: from the caller into answers, entries, messages, work and calls to the EHR."""

import re
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from uuid import UUID

import pytest
from sqlalchemy import select

from adapters import requests
from adapters.clock import TimeOrderedIdentities
from adapters.db.tables import audit_entries, messages
from adapters.egress.breaker import CircuitBreaker
from adapters.egress.peer import Bounds, Peer
from clinical.services.messages import Message, MessageKind
from clinical.services.ports import OpenUnitOfWork
from pipelines.tasks.attempt import Bench, attempt
from tests.adapters.http.conftest import Stage
from tests.adapters.http.test_webhooks import deliver
from tests.fakes import SettableClock

pytestmark = pytest.mark.integration

_LEASE = timedelta(minutes=2)


def test_a_callers_id_is_answered_logged_and_kept_with_the_work(stage: Stage) -> None:
    answer = deliver(stage, **{"X-Request-Id": "ehr-42"})
    assert answer.status_code == 202
    assert answer.headers["X-Request-Id"] == "ehr-42"
    with stage.engine.connect() as connection:
        entry = connection.scalars(select(audit_entries.c.request_id)).one()
        owed = connection.scalars(select(messages.c.request_id)).one()
    assert (entry, owed) == ("ehr-42", "ehr-42")


@pytest.mark.parametrize("bad", ["", "two words", "x" * 65, "caf\u00e9", "a\tb"])
def test_an_id_that_is_not_printable_or_too_long_is_made_anew(stage: Stage, bad: str) -> None:
    answer = stage.client.get("/health/live", headers=[("X-Request-Id", bad.encode("latin-1"))])
    assert UUID(answer.headers["X-Request-Id"])


def test_without_one_each_request_has_its_own(stage: Stage) -> None:
    ids = {stage.get("/health/live").headers["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3


def test_work_goes_back_to_the_request_that_caused_it_over_all_messages(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    seen: list[str] = []
    identities = TimeOrderedIdentities()

    def message(kind: MessageKind) -> Message:
        identity = identities.new()
        return Message(
            message_id=identity,
            kind=kind,
            subject_id=identity,
            created_at=SettableClock().now(),
            coalesce_key=str(identity),
        )

    def understand(taken: Message, _: object) -> None:
        seen.append(taken.request_id)
        with open_unit_of_work() as uow:
            uow.outbox.add(message(MessageKind.PREDICT))
            uow.outbox.done(taken)
            uow.commit()

    with requests.going_back_to("ehr-42"), open_unit_of_work() as uow:
        first = message(MessageKind.RECORD_DELIVERY)
        uow.outbox.add(first)
        uow.commit()
    bench = Bench(
        open_unit_of_work=open_unit_of_work,
        clock=SettableClock(),
        identities=identities,
        lease=_LEASE,
        work={MessageKind.RECORD_DELIVERY: understand},
    )
    attempt(bench, first.message_id)
    with open_unit_of_work() as uow:
        (later,) = uow.outbox.claim(10, _LEASE)
    assert (seen, later.request_id) == (["ehr-42"], "ehr-42")
    assert requests.current() == ""


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """An EHR that remembers the request ids that it was sent."""
    heard: list[str] = []

    class Ehr(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers.get("X-Request-Id", ""))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Ehr)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", heard
    server.shutdown()
    server.server_close()


def test_the_ehr_is_told_the_request_that_our_call_goes_back_to(
    listener: tuple[str, list[str]],
) -> None:
    url, heard = listener
    clock = SettableClock()
    breaker = CircuitBreaker(clock, max_failures=3, pause=timedelta(seconds=1))
    peer = Peer(Bounds(base_url=url), clock, breaker)
    with requests.going_back_to("ehr-42"):
        peer.ask("GET", "metadata")
    peer.ask("GET", "metadata")
    peer.close()
    assert heard == ["ehr-42", ""]


def test_a_made_id_is_one_that_would_be_accepted() -> None:
    made = requests.accepted(None, TimeOrderedIdentities().new)
    assert requests.accepted(made, lambda: "another") == made
    assert re.fullmatch(r"[0-9a-f-]{36}", made)
