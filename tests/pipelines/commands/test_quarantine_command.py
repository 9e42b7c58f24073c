"""`clinical quarantine`: an operator sees what was set aside and why, and sends it on its way once."""

from datetime import timedelta
from uuid import UUID

import pytest
from typer.testing import CliRunner

from adapters.clock import SystemClock, TimeOrderedIdentities
from clinical.services.messages import DeadLetter, Message, MessageKind
from clinical.services.ports import OpenUnitOfWork
from clinical.services.quarantine import MAX_BURIALS, QuarantineService
from pipelines.cli import app
from tests.fakes import NOON

pytestmark = pytest.mark.integration

MESSAGE_ID = UUID(int=7)


@pytest.fixture
def site(database_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("CLINICAL_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "250")
    return CliRunner()


def test_dead_letters_are_listed_with_reason_and_count_and_redriven_once(
    site: CliRunner, open_unit_of_work: OpenUnitOfWork
) -> None:
    message = Message(
        message_id=MESSAGE_ID,
        kind=MessageKind.PREDICT,
        subject_id=UUID(int=8),
        created_at=NOON,
        coalesce_key="one",
    )
    with open_unit_of_work() as uow:
        uow.outbox.add(message)
        uow.commit()
    ours = DeadLetter(digest="a" * 64, num_bytes=81, reason="delivery_limit", message_id=MESSAGE_ID)
    junk = DeadLetter(digest="b" * 64, num_bytes=12, reason="unreadable", message_id=None)
    QuarantineService(
        open_unit_of_work=open_unit_of_work, clock=SystemClock(), identities=TimeOrderedIdentities()
    ).bury([*[ours] * MAX_BURIALS, junk])

    listed = site.invoke(app, ["quarantine", "list"])
    assert listed.exit_code == 0
    lines = listed.output.splitlines()
    assert any(str(MESSAGE_ID) in line and "message.dead_lettered" in line for line in lines)
    assert any(str(MESSAGE_ID) in line and "delivery_limit" in line for line in lines)
    assert any("b" * 64 in line and "unreadable" in line for line in lines)

    redrive = ["quarantine", "redrive", str(MESSAGE_ID), "--by", "operator"]
    assert site.invoke(app, redrive).exit_code == 0
    again = site.invoke(app, redrive)
    assert again.exit_code != 0
    with open_unit_of_work() as uow:
        assert [m.message_id for m in uow.outbox.claim(9, timedelta(minutes=1))] == [MESSAGE_ID]
