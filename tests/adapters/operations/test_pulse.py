"""A worker's pulse on a real database: it says what it sees, and cries out for what is kept back."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from sqlalchemy import Engine, text

from adapters import telemetry
from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.engine import create_engine
from adapters.db.operating import Operating
from adapters.operations import health
from adapters.operations.health import HealthLimits
from adapters.operations.pulse import Pulse, RelayState
from clinical.audit.entry import Act, AuditKind
from clinical.services.audit import AuditService
from clinical.services.ports import OpenUnitOfWork
from tests.fakes import SettableClock

pytestmark = pytest.mark.integration
LIMITS = HealthLimits(merge_delay_seconds=60)


def _pulse(engine: Engine, relay: RelayState) -> Pulse:
    return Pulse("worker-1", Operating(engine), relay, LIMITS)


def _append(open_unit_of_work: OpenUnitOfWork, ago: timedelta) -> None:
    act = Act(actor="test", at=SystemClock().now() - ago)
    with open_unit_of_work() as uow:
        uow.audit_log.append(act.entry(TimeOrderedIdentities().new(), AuditKind.AUDIT_RUN))
        uow.commit()


def test_a_suppressed_entry_raises_the_alarm_though_nobody_lists_it_as_owed(
    engine: Engine, open_unit_of_work: OpenUnitOfWork
) -> None:
    _append(open_unit_of_work, timedelta(seconds=90))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM audit_pending"))
    audit = AuditService(open_unit_of_work=open_unit_of_work, clock=SystemClock())
    assert audit.sequence() == 0  # the sequencer was made to forget it
    lines = StringIO()
    telemetry.configure("test", stream=lines)
    pulse = _pulse(engine, RelayState())

    pulse.beat()

    (line,) = [json.loads(each) for each in lines.getvalue().splitlines()]
    assert (line["level"], line["error_code"]) == ("error", "ledger.merge_delay")
    assert line["num_unsequenced"] == 1
    assert not pulse.health()["ledger"].is_well
    parts = health.workers(Operating(engine).figures(), LIMITS)
    assert (parts["worker"].is_well, parts["ledger"].is_well) == (True, False)


def test_what_has_its_leaf_or_is_young_is_no_alarm(
    engine: Engine, open_unit_of_work: OpenUnitOfWork
) -> None:
    _append(open_unit_of_work, timedelta(hours=1))
    AuditService(open_unit_of_work=open_unit_of_work, clock=SystemClock()).sequence()
    _append(open_unit_of_work, timedelta(seconds=5))
    pulse = _pulse(engine, RelayState())
    pulse.beat()
    assert all(part.is_well for part in pulse.health().values())
    assert health.workers(Operating(engine).figures(), LIMITS)["ledger"].is_well


def test_a_relay_in_trouble_is_told_by_code_and_forgotten_when_it_works(engine: Engine) -> None:
    relay = RelayState()
    pulse = _pulse(engine, relay)
    relay.failed(OSError("amqp://guest:secret@broker"))
    pulse.beat()
    (heard,) = Operating(engine).figures().heartbeats
    assert heard.relay_trouble == "OSError"
    assert not health.workers(Operating(engine).figures(), LIMITS)["broker"].is_well
    relay.went_well()
    pulse.beat()
    assert health.workers(Operating(engine).figures(), LIMITS)["broker"].is_well


def test_a_pulse_outlives_the_database_and_says_that_it_cannot_be_heard() -> None:
    away = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nowhere")
    pulse = _pulse(away, RelayState())
    pulse.beat()
    assert pulse.health()["database"].detail == "storage.unavailable"


def test_merge_delays_are_measured_from_appending_not_from_the_beginning_of_the_act(
    engine: Engine, open_unit_of_work: OpenUnitOfWork
) -> None:
    from adapters.notary import is_signature
    from clinical.services.ledger import LedgerService
    from tests.adapters.http.conftest import LOG_NOTARY

    clock = SettableClock()
    clock.moment = SystemClock().now() + timedelta(seconds=2)
    ledger = LedgerService(
        open_unit_of_work=open_unit_of_work, clock=clock, notary=LOG_NOTARY, check=is_signature
    )
    audit = AuditService(open_unit_of_work=open_unit_of_work, clock=clock)
    operating, log = Operating(engine), LOG_NOTARY.key.name
    _append(open_unit_of_work, timedelta(minutes=5))
    audit.sequence()
    ledger.publish()
    (first,) = operating.merge_delays(log)
    assert 0 < first <= 2
    _append(open_unit_of_work, timedelta(0))
    _append(open_unit_of_work, timedelta(0))
    audit.sequence()
    ledger.publish()
    assert len(operating.merge_delays(log)) == 2  # those under the newest head, and no other
