"""J4 for one answer: what it rests on is hashed again, the log is asked, and the model answers once more."""

import hashlib
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from clinical.audit.entry import AuditKind
from clinical.errors import NotFoundError
from clinical.prediction.circumstances import records_of
from clinical.prediction.replay import Replay
from clinical.services.ports import ModelUnavailableError
from clinical.services.replay import (
    ChangedBytesError,
    ChangedInputError,
    ErasedBytesError,
    OtherModelError,
)
from clinical.timeline.event import Event
from tests.clinical.builders import PATIENT
from tests.clinical.services.conftest import World
from tests.fakes import MODEL

pytestmark = pytest.mark.integration
BODIES = (b'{"first": 1}', b'{"second": 2}')


@pytest.fixture
def deliveries(world: World) -> list[UUID]:
    """Twelve events, read from two deliveries."""
    twelve = list(world.reader.reading.events)
    ids = []
    for number, body in enumerate(BODIES):
        receipt = world.intake.receive(world.delivery(body, f"d{number}"), world.act())
        ids.append(receipt.delivery_id)
        world.reader.reading.events = [
            replace(event, source=replace(event.source, delivery_id=receipt.delivery_id))
            for event in twelve[number::2]
        ]
        world.intake.record(receipt.delivery_id, world.act(), predict=False)
    return ids


@pytest.fixture
def prediction_id(world: World, deliveries: list[UUID]) -> UUID:
    return world.predictions.make(PATIENT, world.act())


def tamper(engine: Engine, statement: str, **values: Any) -> None:
    """As somebody with the keys of the database may: no trigger fires."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        assert connection.execute(text(statement), values).rowcount


def test_a_capsule_names_the_bytes_that_came_and_the_log_names_the_capsule(
    world: World, deliveries: list[UUID], prediction_id: UUID
) -> None:
    with world.open_unit_of_work() as uow:
        prediction = uow.predictions.get(prediction_id)
        timeline = uow.timelines.of(PATIENT)
    capsule = prediction.forecast.capsule
    held = {
        delivery_id: hashlib.sha256(body).hexdigest()
        for delivery_id, body in zip(deliveries, BODIES, strict=True)
    }
    written = "\n".join(records_of(timeline, held)).encode()
    assert capsule.received is not None
    assert capsule.received.digest == hashlib.sha256(written).hexdigest()
    assert (capsule.received.num_records, capsule.received.num_deliveries) == (12, 2)
    [entry] = [
        entry
        for entry in world.history(prediction=str(prediction_id))
        if entry.kind is AuditKind.PREDICTION_STORED
    ]
    assert "capsule" in entry.sealed_refs
    assert world.stands_for(entry, **prediction.sealed_content)


def test_an_untouched_answer_comes_back_to_the_bit(world: World, prediction_id: UUID) -> None:
    replayed = world.replays.replay(prediction_id)
    assert (replayed.subject, replayed.subject_id) == ("prediction", prediction_id)
    assert replayed.recomputed.replay is Replay.EQUAL
    assert replayed.recomputed.circumstances == ()


def test_news_since_then_change_nothing(world: World, prediction_id: UUID) -> None:
    receipt = world.intake.receive(world.delivery(b"{}", "later"), world.act())
    world.intake.record(receipt.delivery_id, world.act(), predict=False)
    assert world.replays.replay(prediction_id).recomputed.replay is Replay.EQUAL


def test_altered_bytes_are_named_by_their_delivery(
    world: World, engine: Engine, deliveries: list[UUID], prediction_id: UUID
) -> None:
    tamper(engine, "UPDATE deliveries SET body = '{}' WHERE delivery_id = :of", of=deliveries[1])
    with pytest.raises(ChangedBytesError, match=str(deliveries[1])) as caught:
        world.replays.replay(prediction_id)
    assert caught.value.deliveries == (deliveries[1],)


def test_bytes_altered_along_with_their_digest_are_named_by_the_log(
    world: World, engine: Engine, deliveries: list[UUID], prediction_id: UUID
) -> None:
    tamper(
        engine,
        "UPDATE deliveries SET body = 'x', digest = encode(sha256('x'), 'hex')"
        " WHERE delivery_id = :of",
        of=deliveries[0],
    )
    with pytest.raises(ChangedBytesError) as caught:
        world.replays.replay(prediction_id)
    assert caught.value.deliveries == (deliveries[0],)


def test_erased_bytes_are_said_to_be_erased(
    world: World, engine: Engine, deliveries: list[UUID], prediction_id: UUID
) -> None:
    erase = "UPDATE deliveries SET body = '', digest = '' WHERE delivery_id = :of"
    tamper(engine, erase, of=deliveries[1])
    with pytest.raises(ErasedBytesError) as caught:
        world.replays.replay(prediction_id)
    assert caught.value.deliveries == (deliveries[1],)


def test_a_delivery_that_is_gone_is_missed(
    world: World, engine: Engine, deliveries: list[UUID], prediction_id: UUID
) -> None:
    tamper(engine, "DELETE FROM deliveries WHERE delivery_id = :of", of=deliveries[0])
    with pytest.raises(ChangedBytesError):
        world.replays.replay(prediction_id)


def test_events_that_are_gone_are_missed(world: World, engine: Engine, prediction_id: UUID) -> None:
    tamper(engine, "DELETE FROM events WHERE record_id = 'o3'")
    with pytest.raises(ChangedInputError):
        world.replays.replay(prediction_id)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("capsule = jsonb_set(capsule, '{device}', '\"tpu\"')", "capsule"),
        ("capsule = jsonb_set(capsule, '{received,num_records}', '12')", None),
        ("config_digest = 'x'", "config"),
        ("readouts = replace(readouts::text, 'te\": \"0.', 'te\": \"0.0')::jsonb", "output"),
    ],
)
def test_a_stored_answer_that_was_edited_is_not_the_one_in_the_log(
    world: World, engine: Engine, prediction_id: UUID, change: str, what: str | None
) -> None:
    tamper(engine, f"UPDATE predictions SET {change}")
    recomputed = world.replays.replay(prediction_id).recomputed
    if what is None:
        assert recomputed.replay is Replay.EQUAL
    else:
        assert recomputed.replay is Replay.DIFFERENT
        assert f"{what}, as the audit log names it" in recomputed.what


def test_an_answer_without_an_entry_in_the_log_is_not_equal(
    world: World, engine: Engine, prediction_id: UUID
) -> None:
    tamper(engine, "DELETE FROM audit_entries WHERE kind = 'prediction.stored.v1'")
    recomputed = world.replays.replay(prediction_id).recomputed
    assert recomputed.replay is Replay.DIFFERENT
    assert recomputed.what == ("audit entry, which is missing",)


def test_an_answer_from_before_capsules_held_more_is_still_replayed(
    world: World, engine: Engine, prediction_id: UUID
) -> None:
    tamper(engine, "UPDATE predictions SET capsule = capsule - 'computation' - 'received'")
    tamper(
        engine,
        "UPDATE audit_entries SET refs = refs - 'capsule' WHERE kind = 'prediction.stored.v1'",
    )
    replayed = world.replays.replay(prediction_id)
    assert replayed.capsule.received is None
    assert replayed.recomputed.replay is Replay.EQUAL
    now = {each.name: each.before for each in replayed.recomputed.circumstances}
    assert now["received digest"] == "not recorded"


def test_another_model_is_refused_by_name_and_an_absent_one_says_so(
    world: World, prediction_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = replace(MODEL, version="2", manifest_digest="f" * 64)
    with monkeypatch.context() as patched:
        patched.setattr(world.models, "fingerprint", lambda: newer)
        with pytest.raises(OtherModelError, match=r"fake 1 .* answered, and fake 2 .* serves"):
            world.replays.replay(prediction_id)
    world.models.is_away = True
    with pytest.raises(ModelUnavailableError):
        world.replays.replay(prediction_id)


def test_a_model_that_says_something_else_now_is_told_with_where(
    world: World, prediction_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def otherwise(request: Any, timeline: Any) -> Any:
        said = said_before(request, timeline)
        first, *rest = said.readouts
        assert first.estimate is not None
        other = replace(first, estimate=first.estimate / 2)
        return replace(said, readouts=(other, *rest))

    said_before = world.models.forecast
    monkeypatch.setattr(world.models, "forecast", otherwise)
    recomputed = world.replays.replay(prediction_id).recomputed
    assert recomputed.what == ("Hospital admission, 0-30 d",)


def test_nothing_of_this_identity_is_not_found(world: World) -> None:
    with pytest.raises(NotFoundError):
        world.replays.replay(UUID(int=404))


def test_what_had_come_but_was_not_understood_yet_is_no_part_of_what_the_question_read(
    world: World,
) -> None:
    """A second delivery waited in the queue while the question was asked."""
    twelve = list(world.reader.reading.events)
    first = world.intake.receive(world.delivery(BODIES[0], "d0"), world.act()).delivery_id
    second = world.intake.receive(world.delivery(BODIES[1], "d1"), world.act()).delivery_id
    newest, *others = reversed(twelve)
    world.reader.reading.events = _read_from(first, [newest, *others[:5]])
    world.intake.record(first, world.act(), predict=False)
    prediction_id = world.predictions.make(PATIENT, world.act())
    world.reader.reading.events = _read_from(second, others[5:])
    world.intake.record(second, world.act(), predict=False)
    assert world.replays.replay(prediction_id).recomputed.replay is Replay.EQUAL


def _read_from(delivery_id: UUID, events: list[Event]) -> list[Event]:
    return [replace(each, source=replace(each.source, delivery_id=delivery_id)) for each in events]
