"""A note that comes by Connect is sent to Core where the site wants it, and comes back as events."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, select

from adapters.assembly import nabla as assembled
from adapters.assembly.worker import readers
from adapters.db.tables import deliveries
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.egress.keys import KeyRing
from adapters.nabla.coder import NablaCoder
from adapters.sites.nabla import Core
from clinical.audit.entry import Act, AuditKind
from clinical.services.delivery import Delivery, Door
from clinical.services.erasure import ErasureService
from clinical.services.intake import Intake
from clinical.services.messages import MessageKind
from clinical.services.notes import NoteService
from clinical.timeline.event import Origin
from clinical.timeline.patient import PatientRef
from pipelines.tasks import intake as intake_task
from pipelines.tasks import notes as notes_task
from pipelines.tasks.attempt import Bench, Outcome, attempt
from tests.adapters.nabla.server import CLIENT_ID, NablaServer, Reply, nabla_server, refusal
from tests.adapters.nabla.test_nabla_client import _user_token, keys
from tests.adapters.nabla.test_nabla_contract import core_event
from tests.adapters.nabla.test_nabla_readers import callback
from tests.adapters.nabla.versions import RESPONSES
from tests.fakes import SeededIdentities, SettableClock

__all__ = ["keys"]
pytestmark = pytest.mark.integration

PATIENT = PatientRef("north", "p1").patient_id
SYNC = "/generate-normalized-data"
ASYNC = "/generate-normalized-data-async"
LEASE = timedelta(minutes=2)


@dataclass
class Joined:
    """Intake and coding over a real database, without a broker."""

    engine: Engine
    clock: SettableClock
    server: NablaServer
    intake: Intake
    bench: Bench
    done: list[tuple[MessageKind, Outcome]] = field(default_factory=list)

    def receive(self, door: Door, content: Any, sender_id: str) -> UUID:
        delivery = Delivery(
            delivery_id=self.bench.identities.new(),
            site="north",
            door=door,
            sender_id=sender_id,
            body=json.dumps(content).encode(),
            content_type="application/json",
            received_at=self.clock.now(),
        )
        act = Act(actor="site:north", at=self.clock.now())
        return self.intake.receive(delivery, act).delivery_id

    def work(self) -> None:
        """All that is due, but for predictions."""
        while True:
            with self.bench.open_unit_of_work() as uow:
                owed = [m for m in uow.outbox.claim(50, LEASE) if m.kind in self.bench.work]
                uow.commit()
            if not owed:
                return
            for message in owed:
                self.done.append((message.kind, attempt(self.bench, message.message_id)))

    def stored(self, door: Door) -> list[Any]:
        query = select(deliveries).where(deliveries.c.door == door.value)
        with self.engine.connect() as connection:
            return list(connection.execute(query))

    def derived(self) -> list[str]:
        """The records from which the events come that stand."""
        with self.bench.open_unit_of_work() as uow:
            timeline = uow.timelines.of(PATIENT)
        assert all(event.origin is Origin.AI_FROM_NOTE for event in timeline)
        return sorted({event.source.record_type for event in timeline})

    def entries(self, delivery_id: UUID) -> list[AuditKind]:
        with self.bench.open_unit_of_work() as uow:
            return [each.kind for each in uow.audit_log.history(delivery=str(delivery_id))]


def _joined(engine: Engine, clock: SettableClock, server: NablaServer, coder: NablaCoder) -> Joined:
    open_unit_of_work = unit_of_work_factory(engine, moment=clock.now)
    shared: dict[str, Any] = {
        "open_unit_of_work": open_unit_of_work,
        "clock": clock,
        "identities": SeededIdentities(7),
    }
    intake = Intake(
        **shared,
        readers=readers(),
        follow_up=lambda each: MessageKind.CODE_NOTE if coder.takes(each) else None,
    )
    notes = NoteService(**shared, coder=coder)
    bench = Bench(
        **shared,
        lease=LEASE,
        work={
            MessageKind.RECORD_DELIVERY: lambda *what: intake_task.record(intake, *what),
            MessageKind.CODE_NOTE: lambda *what: notes_task.code(notes, *what),
        },
    )
    return Joined(engine, clock, server, intake, bench)


@pytest.fixture
def server(keys: KeyRing, frozen_clock: SettableClock) -> Iterator[NablaServer]:
    with nabla_server({"keys": keys.public()}, frozen_clock.now) as running:
        token = _user_token(frozen_clock, seconds=10**7)
        running.answers["/jwt/authenticate/u-1"] = lambda _: Reply(200, {"access_token": token})
        running.answers[ASYNC] = lambda _: Reply(200, {"id": "job-1", "status": "ONGOING"})
        running.answers[SYNC] = lambda _: Reply(200, RESPONSES["2026-02-20"])
        yield running


def _coder(server: NablaServer, keys: KeyRing, clock: SettableClock, **changes: Any) -> NablaCoder:
    stated = {
        "client_id": CLIENT_ID,
        "base_url": f"{server.url}/v1/core/server",
        "allows_plain_http": True,
        "locale": "ENGLISH_US",
        "template": "GENERAL",
    }
    core = Core(**(stated | changes))
    return NablaCoder({"north": assembled.core_client("north", "us", core, keys, clock)})


@pytest.fixture
def joined(
    engine: Engine, frozen_clock: SettableClock, server: NablaServer, keys: KeyRing
) -> Joined:
    return _joined(engine, frozen_clock, server, _coder(server, keys, frozen_clock))


@pytest.fixture
def later(
    engine: Engine, frozen_clock: SettableClock, server: NablaServer, keys: KeyRing
) -> Joined:
    """The same by the asynchronous way."""
    how = {"api_version": "2026-07-01", "is_async": True, "user_id": "u-1"}
    return _joined(engine, frozen_clock, server, _coder(server, keys, frozen_clock, **how))


def erase(joined: Joined) -> None:
    ErasureService(
        open_unit_of_work=joined.bench.open_unit_of_work,
        clock=joined.clock,
        identities=joined.bench.identities,
    ).erase(PatientRef("north", "p1"), "operator")


def test_a_note_is_coded_by_core_and_becomes_events_known_from_its_export(joined: Joined) -> None:
    exported_at = joined.clock.now()
    note_id = joined.receive(Door.NABLA_CONNECT, callback(), "u1")
    joined.work()
    assert joined.derived() == ["NablaNormalized", "NablaNote"]
    (stored,) = joined.stored(Door.NABLA_NORMALIZED)
    assert stored.context == {"note": str(note_id)}
    assert json.loads(stored.body)["response"] == RESPONSES["2026-02-20"]
    with joined.bench.open_unit_of_work() as uow:
        timeline = uow.timelines.of(PATIENT)
    assert {known.at for known in timeline.versions} == {exported_at}
    assert AuditKind.NOTE_SENT in joined.entries(note_id)
    assert AuditKind.DELIVERY_RECEIVED in joined.entries(stored.delivery_id)


@pytest.mark.parametrize("period", ["2026-03-01T08:00:00+01:00", "2026-03-01", "2026-03", None])
def test_what_nabla_coded_happened_at_the_encounter_where_the_ehr_told_of_it(
    joined: Joined, period: str | None
) -> None:
    encounter = {
        "resourceType": "Encounter",
        "id": "e1",
        "status": "in-progress",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": "Patient/p1"},
        **({"period": {"start": period}} if period else {}),
    }
    joined.receive(Door.FHIR, encounter, "w1")
    joined.work()
    joined.receive(Door.NABLA_CONNECT, callback(), "u1")
    joined.work()
    with joined.bench.open_unit_of_work() as uow:
        timeline = uow.timelines.of(PATIENT)
    found = [each for each in timeline if each.source.record_type == "NablaNormalized"]
    assert len(found) == 3
    said = {each.occurred_at.text if each.occurred_at else None for each in found}
    # Less than a day is no encounter's time; nothing is guessed.
    known = {"2026-03-01T08:00:00+01:00": "2026-03-01T07:00:00+00:00", "2026-03-01": period}
    assert said == {known.get(period or "")}


def test_a_site_that_did_not_turn_core_on_sends_nothing(
    engine: Engine, frozen_clock: SettableClock, server: NablaServer
) -> None:
    joined = _joined(engine, frozen_clock, server, NablaCoder({}))
    joined.receive(Door.NABLA_CONNECT, callback(), "u1")
    joined.work()
    assert joined.derived() == ["NablaNote"]
    assert server.asked == []


def test_instructions_and_a_note_without_sections_are_not_sent(joined: Joined) -> None:
    instructions = callback(patient_instructions={"instructions": "rest"})
    joined.receive(Door.NABLA_CONNECT, instructions | {"type": "PATIENT_INSTRUCTIONS_EXPORT"}, "u1")
    joined.receive(Door.NABLA_CONNECT, callback(note={"sections": []}), "u2")
    joined.work()
    assert joined.server.asked == []


def test_a_note_that_nabla_refuses_is_given_up_by_name_and_the_note_stands(joined: Joined) -> None:
    joined.server.answers[SYNC] = lambda _: refusal(422, 400)
    joined.receive(Door.NABLA_CONNECT, callback(), "u1")
    joined.work()
    with joined.bench.open_unit_of_work() as uow:
        (given_up,) = uow.outbox.given_up(10)
    assert (given_up.kind, given_up.error_code) == (MessageKind.CODE_NOTE, "nabla.refused")
    assert joined.derived() == ["NablaNote"]


def test_a_limit_of_nabla_is_waited_out_and_no_attempt_is_spent(joined: Joined) -> None:
    joined.server.answers[SYNC] = lambda _: refusal(429, 85000)
    joined.receive(Door.NABLA_CONNECT, callback(), "u1")
    for _ in range(8):
        joined.work()
        joined.clock.advance(timedelta(seconds=70))
    joined.server.answers[SYNC] = lambda _: Reply(200, RESPONSES["2026-02-20"])
    joined.work()
    assert joined.derived() == ["NablaNormalized", "NablaNote"]
    assert len(joined.server.asked_for(SYNC)) == 9


def test_an_asynchronous_result_is_polled_for(later: Joined) -> None:
    state: dict[str, Any] = {"id": "job-1", "status": "ONGOING"}
    later.server.answers[f"{ASYNC}/job-1"] = lambda _: Reply(200, state)
    later.receive(Door.NABLA_CONNECT, callback(), "u1")
    for _ in range(3):
        later.work()
        later.clock.advance(timedelta(minutes=2))
    assert later.derived() == ["NablaNote"]
    state |= {"status": "SUCCEEDED", "payload": RESPONSES["2026-07-01"]}
    later.work()
    assert later.derived() == ["NablaNormalized", "NablaNote"]
    assert len(later.server.asked_for(ASYNC)) == 1


def test_a_result_that_is_gone_after_two_hours_is_asked_for_anew(later: Joined) -> None:
    later.receive(Door.NABLA_CONNECT, callback(), "u1")
    later.work()
    later.clock.advance(timedelta(hours=3))
    # Nothing is known of job-1 any more.
    later.server.answers[ASYNC] = lambda _: Reply(200, {"id": "job-2", "status": "ONGOING"})
    succeeded = {"id": "job-2", "status": "SUCCEEDED", "payload": RESPONSES["2026-07-01"]}
    later.server.answers[f"{ASYNC}/job-2"] = lambda _: Reply(200, succeeded)
    later.work()
    later.clock.advance(timedelta(minutes=2))
    later.work()
    assert later.derived() == ["NablaNormalized", "NablaNote"]


def test_a_webhook_of_core_brings_the_result_and_polling_adds_nothing(later: Joined) -> None:
    done = {"id": "job-1", "status": "SUCCEEDED", "payload": RESPONSES["2026-07-01"]}
    later.receive(Door.NABLA_CONNECT, callback(), "u1")
    later.work()
    nested = core_event(**done)
    later.receive(Door.NABLA_CORE, nested | {"data": {"data": nested["data"]}}, "event-1")
    later.work()
    assert later.derived() == ["NablaNormalized", "NablaNote"]
    later.server.answers[f"{ASYNC}/job-1"] = lambda _: Reply(200, done)
    later.clock.advance(timedelta(minutes=2))
    later.work()
    assert len(later.stored(Door.NABLA_NORMALIZED)) == 1
    with later.bench.open_unit_of_work() as uow:
        assert uow.outbox.pending() == 1  # the prediction


def test_a_webhook_that_comes_before_its_job_is_known_waits_for_it(later: Joined) -> None:
    done = {"id": "job-1", "status": "SUCCEEDED", "payload": RESPONSES["2026-07-01"]}
    later.receive(Door.NABLA_CORE, core_event(**done), "event-1")
    later.work()
    later.receive(Door.NABLA_CONNECT, callback(), "u1")
    later.work()
    later.clock.advance(timedelta(minutes=2))
    later.server.answers[f"{ASYNC}/job-1"] = lambda _: refusal(429, 85000)  # not by polling
    later.work()
    assert later.derived() == ["NablaNormalized", "NablaNote"]


def test_a_webhook_of_a_job_that_nobody_asked_for_is_given_up_by_name(later: Joined) -> None:
    later.receive(Door.NABLA_CORE, core_event(), "event-1")
    later.work()
    later.clock.advance(timedelta(minutes=11))
    later.work()
    with later.bench.open_unit_of_work() as uow:
        (given_up,) = uow.outbox.given_up(10)
    assert given_up.error_code == "note.unknown_job"


def test_what_a_webhook_told_of_a_patient_is_erased_with_the_patient(later: Joined) -> None:
    done = {"id": "job-1", "status": "SUCCEEDED", "payload": RESPONSES["2026-07-01"]}
    later.receive(Door.NABLA_CONNECT, callback(), "u1")
    later.work()
    later.receive(Door.NABLA_CORE, core_event(**done), "event-1")
    later.work()
    erase(later)
    bodies = [
        each.body
        for door in (Door.NABLA_CONNECT, Door.NABLA_CORE, Door.NABLA_NORMALIZED)
        for each in later.stored(door)
    ]
    assert bodies == [b"", b"", b""]


def test_a_note_that_was_erased_meanwhile_is_not_sent(joined: Joined) -> None:
    note_id = joined.receive(Door.NABLA_CONNECT, callback(), "u1")
    act = Act(actor="worker", at=joined.clock.now())
    joined.intake.record(note_id, act)
    erase(joined)
    joined.work()
    assert joined.server.asked == []
    with joined.bench.open_unit_of_work() as uow:
        assert uow.outbox.given_up(10) == []
