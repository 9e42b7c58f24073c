"""What the broker gave up: told to the database without its content, and acknowledged only then."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from celery import Celery
from kombu.connection import Connection

from adapters.assembly.worker import Broker
from adapters.clock import TimeOrderedIdentities
from clinical.audit.entry import AuditKind
from clinical.services.messages import DeadLetter
from clinical.services.ports import OpenUnitOfWork
from clinical.services.quarantine import MAX_BURIALS, QuarantineService
from pipelines.tasks.dead_letters import UNREADABLE, dead_letter
from pipelines.tasks.queues import DEAD_QUEUE
from pipelines.worker import create_app, open_line
from tests.pipelines.tasks.owing import SetClock, message_for, owe
from tests.rabbitmq import RabbitMq, program
from tests.required import is_absent


def _body(message_id: object) -> bytes:
    return json.dumps([[message_id], {}, {"callbacks": None}]).encode()


def test_of_a_task_of_ours_the_id_is_kept_with_the_brokers_reason() -> None:
    message_id = uuid4()
    deaths = [{"reason": "delivery_limit", "count": 1}]
    letter = dead_letter(_body(str(message_id)), {"application_headers": {"x-death": deaths}})
    assert (letter.message_id, letter.reason) == (message_id, "delivery_limit")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\x00",
        b"Anna Bell, born 1931",
        b"[" * 4000,
        b"{}",
        b"[[], {}, {}]",
        b'[["Anna Bell"], {}, {}]',
        b"[[7], {}, {}]",
        _body(str(uuid4())) + b" " * 5000,
    ],
)
def test_of_anything_else_only_digest_and_length_are_kept(body: bytes) -> None:
    odd = {"application_headers": {"x-death": [{"reason": "Anna Bell"}]}}
    for properties in ({}, odd, {"application_headers": {"x-death": 3}}):
        letter = dead_letter(body, properties)
        assert (letter.message_id, letter.reason) == (None, UNREADABLE)
        assert letter.num_bytes == len(body)


def test_no_words_but_the_brokers_own_become_a_reason() -> None:
    odd = {"application_headers": {"x-death": [{"reason": "Anna Bell"}]}}
    assert dead_letter(_body(str(uuid4())), odd).reason == "unknown"


@pytest.fixture
def service(open_unit_of_work: OpenUnitOfWork, clock: SetClock) -> QuarantineService:
    return QuarantineService(
        open_unit_of_work=open_unit_of_work, clock=clock, identities=TimeOrderedIdentities()
    )


def _letter(message_id: UUID) -> DeadLetter:
    return dead_letter(_body(str(message_id)), {})


@pytest.mark.integration
def test_what_is_buried_again_and_again_is_given_up_and_redriven_once(
    service: QuarantineService, open_unit_of_work: OpenUnitOfWork, clock: SetClock
) -> None:
    message_id = owe(open_unit_of_work, message_for(clock))
    for _ in range(MAX_BURIALS - 1):
        service.bury([_letter(message_id)])
        assert service.given_up(9) == []  # an outage: its lease brings it again
    service.bury([_letter(message_id), _letter(uuid4())])
    (given_up,) = service.given_up(9)
    assert (given_up.message_id, given_up.error_code) == (message_id, "message.dead_lettered")
    assert [each.count for each in service.dead_letters(9) if each.letter == _letter(message_id)]
    with open_unit_of_work() as uow:
        (entry,) = uow.audit_log.history(message=str(message_id))
    assert (entry.kind, entry.refs["why"]) == (AuditKind.MESSAGE_ABANDONED, given_up.error_code)

    service.redrive(message_id, "operator")
    service.bury([_letter(message_id)])  # counted anew
    assert service.given_up(9) == []
    with open_unit_of_work() as uow:
        assert uow.outbox.pending() == 1


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RabbitMq]:
    if program() is None:
        is_absent("RabbitMQ")
    with RabbitMq(tmp_path / "rabbitmq") as running:
        yield running


class CannotStoreError(Exception):
    """The database is away."""


@pytest.mark.rabbitmq
@pytest.mark.integration
def test_the_dead_queue_is_emptied_only_once_its_letters_are_stored(
    broker: RabbitMq, tmp_path: Path, service: QuarantineService
) -> None:
    app: Celery = create_app(Broker(url=broker.url, folder=tmp_path), lambda: None)  # type: ignore[arg-type,return-value]

    def refuse(_letters: Sequence[DeadLetter]) -> None:
        raise CannotStoreError

    with (
        open_line(app) as line,
        Connection(broker.url, transport_options={"confirm_publish": True}) as connection,
    ):
        producer = connection.Producer(routing_key=DEAD_QUEUE)
        for body in (_body(str(uuid4())), b"Anna Bell", b"Anna Bell"):
            producer.publish(
                body, exchange=DEAD_QUEUE, content_encoding="binary", content_type="text/plain"
            )
        # A header at which kombu's own reader would break.
        producer.publish(
            b"x",
            exchange=DEAD_QUEUE,
            headers={"compression": "none such"},
            content_encoding="binary",
        )
        with pytest.raises(CannotStoreError):
            line.drain(refuse)
        assert line.drain(service.bury) == 4
        assert line.drain(service.bury) == 0
    counts = sorted((each.letter.reason, each.count) for each in service.dead_letters(9))
    assert counts == [("unknown", 1), (UNREADABLE, 1), (UNREADABLE, 2)]
