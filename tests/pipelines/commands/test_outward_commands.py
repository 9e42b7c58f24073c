"""`clinical webhooks` and `clinical nabla`, with a sites file and somebody at the other end."""

import base64
import json
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from standardwebhooks import Webhook
from typer.testing import CliRunner

from adapters.clock import SystemClock
from adapters.egress.keys import KeyRing
from clinical.services.messages import Message, MessageKind
from clinical.services.ports import OpenUnitOfWork, ReceiverName
from pipelines.cli import app
from tests.adapters.nabla.server import CLIENT_ID, Reply, nabla_server
from tests.adapters.receivers.receiver import hook_receiver
from tests.fakes import NOON

pytestmark = pytest.mark.integration

SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
MESSAGE_ID = UUID(int=7)


@pytest.fixture
def site(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("CLINICAL_DATABASE_URL", database_url)
    monkeypatch.setenv("CLINICAL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CLINICAL_SITES_FILE", str(tmp_path / "sites.toml"))
    monkeypatch.setenv("COLUMNS", "250")
    return CliRunner()


def write_receiver(folder: Path, url: str) -> None:
    (folder / "sites.toml").write_text(
        "[sites.north.webhooks.dashboard]\n"
        f'url = "{url}"\nsecrets = ["{SECRET}"]\nevents = ["review.opened"]\n'
    )


def test_a_receiver_is_pinged_and_a_refusal_is_told_in_words(
    site: CliRunner, tmp_path: Path
) -> None:
    with hook_receiver() as hook:
        write_receiver(tmp_path, hook.url)
        assert site.invoke(app, ["webhooks", "ping", "north", "dashboard"]).exit_code == 0
        (came,) = hook.came
        assert Webhook(SECRET).verify(came.body, came.headers)["type"] == "ping"
        hook.answer(403)
        refused = site.invoke(app, ["webhooks", "ping", "north", "dashboard"])
        assert (refused.exit_code, "webhook.failed" in refused.output) == (1, True)
        unknown = site.invoke(app, ["webhooks", "ping", "north", "nobody"])
        assert "webhook.unknown_receiver" in unknown.output


def test_receivers_are_listed_and_what_they_missed_is_redriven(
    site: CliRunner, tmp_path: Path, open_unit_of_work: OpenUnitOfWork
) -> None:
    write_receiver(tmp_path, "https://hooks.example.org/x")
    told = {"site": "north", "endpoint": "dashboard", "event": "review.opened"}
    message = Message(
        message_id=MESSAGE_ID,
        kind=MessageKind.SEND_WEBHOOK,
        subject_id=UUID(int=8),
        created_at=NOON,
        coalesce_key="one",
        parameters=told,
    )
    with open_unit_of_work() as uow:
        uow.outbox.add(message)
        started = uow.outbox.start(MESSAGE_ID, timedelta(minutes=1))
        assert started is not None
        uow.outbox.give_up(started, "webhook.gone")
        uow.announcements.disable(ReceiverName("north", "dashboard"))
        uow.commit()
    listed = site.invoke(app, ["webhooks", "list"]).output
    assert any("dashboard" in line and "gone" in line for line in listed.splitlines())
    dead = site.invoke(app, ["webhooks", "dead"]).output
    assert any(str(MESSAGE_ID) in line and "webhook.gone" in line for line in dead.splitlines())
    enable = ["webhooks", "enable", "north", "dashboard", "--by", "operator"]
    assert "told again" in site.invoke(app, enable).output
    assert "not disabled" in site.invoke(app, enable).output
    redrive = ["webhooks", "redrive", str(MESSAGE_ID), "--by", "operator"]
    assert site.invoke(app, redrive).exit_code == 0
    assert site.invoke(app, redrive).exit_code != 0
    listed = site.invoke(app, ["webhooks", "list"]).output
    assert any("dashboard" in line and " on " in line for line in listed.splitlines())


def test_an_encounter_is_opened_in_nabla_connect_from_what_standard_input_says(
    site: CliRunner, tmp_path: Path
) -> None:
    ring = KeyRing(tmp_path / "data" / "secrets" / "signing_keys", SystemClock())
    ring.ensure("RS256")
    with nabla_server({"keys": ring.public()}, SystemClock().now) as server:
        server.answers["/encounters"] = lambda _: Reply(200, {"encounter_url": "https://n/1"})
        server.answers["/encounters/url"] = lambda _: Reply(200, {"encounter_url": "https://n/2"})
        server.answers["/users"] = lambda _: Reply(200, {})
        (tmp_path / "sites.toml").write_text(
            f'[sites.north.nabla]\nregion = "us"\n[sites.north.nabla.connect]\n'
            f'client_id = "{CLIENT_ID}"\nbase_url = "{server.url}/v1/connect/server"\n'
        )
        stated = {
            "provider_email": "dr@example.org",
            "external_provider_id": "dr",
            "external_patient_id": "p1",
            "external_encounter_id": "e1",
            "name": "Ada Example",
            "birth_date": "1950-01-02",
            "gender": "FEMALE",
        }
        opened = site.invoke(app, ["nabla", "encounter", "north"], input=json.dumps(stated))
        assert opened.output.strip() == "https://n/1"
        again = ["nabla", "url", "north", "--provider", "dr", "--encounter", "e1"]
        assert site.invoke(app, again).output.strip() == "https://n/2"
        user = ["nabla", "user", "north", "--email", "dr@example.org", "--provider", "dr"]
        assert site.invoke(app, user).exit_code == 0
        bad = site.invoke(app, ["nabla", "encounter", "north"], input='{"name": "Ada Example"}')
        assert bad.exit_code == 2
        assert "Ada" not in bad.output
        checked = site.invoke(app, ["site", "check", "north"]).output
        assert "works    Nabla Connect: gave us a token" in checked
    nowhere = site.invoke(app, ["nabla", "url", "south", "--provider", "d", "--encounter", "e"])
    assert "nabla.not_set_up" in nowhere.output
