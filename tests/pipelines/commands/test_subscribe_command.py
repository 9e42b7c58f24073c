"""`clinical subscribe`: what an operator sees and does, against a server that we did not write."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from adapters.clock import SystemClock
from adapters.egress.keys import KeyRing
from pipelines.cli import app
from tests.hospital import CLIENT_ID, Hospital, hospital, topic

pytestmark = pytest.mark.integration

TOPIC = "http://sekmet.dev/fhir/SubscriptionTopic/observation-changed"
SITES = """
[sites.harbour.fhir]
base_url = "{url}"
auth = {{ kind = "smart_backend", client_id = "{client_id}", scopes = ["system/*.*"] }}

[sites.harbour.subscriptions.labs]
topic = "{topic}"
queries = ["Observation"]
lifetime_seconds = 86400
proof = {{ kind = "header", values = ["Bearer something"] }}

[sites.harbour.subscriptions.theirs]
is_created_here = false
has_running_counters = false
proof = {{ kind = "hub", handshake_token = "a token" }}
"""


class Operator:
    """Somebody at the command line of a site beside a hospital."""

    def __init__(self, ehr: Hospital) -> None:
        self.ehr = ehr

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["subscribe", *arguments])

    def say(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.output


@pytest.fixture
def operator(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Operator]:
    keys = KeyRing(tmp_path / "data" / "secrets" / "signing_keys", SystemClock())
    keys.ensure("RS384")
    monkeypatch.setenv("CLINICAL_DATABASE_URL", database_url)
    monkeypatch.setenv("CLINICAL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CLINICAL_SITES_FILE", str(tmp_path / "sites.toml"))
    monkeypatch.setenv("CLINICAL_PUBLIC_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("COLUMNS", "220")
    with hospital(tmp_path / "ehr", {"keys": keys.public()}) as ehr:
        ehr.put(topic(TOPIC, "Observation"))
        text_of = SITES.format(url=ehr.url, client_id=CLIENT_ID, topic=TOPIC)
        (tmp_path / "sites.toml").write_text(text_of)
        yield Operator(ehr)


def test_a_subscription_is_made_once_asked_about_renewed_and_removed(
    operator: Operator, engine: Engine
) -> None:
    assert "never heard of" in operator.say("list")
    assert "is made" in operator.say("create", "harbour", "labs", "--by", "maria")
    assert "was there" in operator.say("create", "harbour", "labs")
    held = operator.ehr.get("Subscription")
    (entry,) = held["entry"]
    assert entry["resource"]["channel"]["endpoint"] == (
        "http://127.0.0.1:9/v1/fhir/harbour/subscriptions/labs"
    )
    assert operator.say("status", "harbour", "labs").startswith("harbour labs: ")
    assert "requested again, until " in operator.say("renew", "harbour", "labs")
    watched = operator.say("watch", "--seconds", "1")
    assert entry["resource"]["id"] in watched
    assert "removed" in operator.say("remove", "harbour", "labs")
    assert "entry" not in operator.ehr.get("Subscription")
    with engine.connect() as connection:
        actors = connection.execute(
            text("SELECT actor FROM audit_entries WHERE kind = 'subscription.moved.v1'")
        ).scalars()
        assert set(actors) >= {"maria", "operator"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("create", "harbour", "theirs"), "subscription.not_ours"),
        (("create", "harbour", "unknown"), "subscription.unknown"),
        (("renew", "harbour", "labs"), "subscription.not_made"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    operator: Operator, arguments: tuple[str, ...], code: str
) -> None:
    result = operator.run(*arguments)
    assert result.exit_code != 0
    assert code in result.output


def test_a_site_without_subscriptions_is_said_to_have_none(operator: Operator) -> None:
    assert operator.run("status", "elsewhere").exit_code != 0


def test_the_check_of_a_site_tells_of_its_subscriptions(operator: Operator) -> None:
    def told() -> str:
        output = CliRunner().invoke(app, ["site", "check", "harbour"]).output
        (line,) = [line for line in output.splitlines() if "subscription labs" in line]
        return line

    assert "clinical subscribe create" in told()
    operator.say("create", "harbour", "labs")
    assert "the EHR says that it is" in told()
