"""`clinical token` and `clinical ledger auditevents`: for programs, and for auditors without a connection."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.clinicians import Clinicians
from adapters.db.tokens import AccessTokens
from clinical.audit.entry import Act, AuditKind
from clinical.services.ports import OpenUnitOfWork
from pipelines.cli import app
from tests.conformance.validators import assert_valid_everywhere

pytestmark = pytest.mark.integration


@pytest.fixture
def site(database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("CLINICAL_DATABASE_URL", database_url)
    Clinicians(engine).add("anna", "Dr Anna", "correct horse battery", "clinician")
    return CliRunner()


def test_a_token_is_issued_shown_once_listed_and_taken_back(
    site: CliRunner, engine: Engine
) -> None:
    tokens, now = AccessTokens(engine, TimeOrderedIdentities()), SystemClock().now()
    done = site.invoke(app, ["token", "issue", "anna", "--by", "admin", "--days", "2"])
    assert done.exit_code == 0, done.output
    said, token = done.output.strip().splitlines()
    bearer = tokens.bearer(token, now)
    assert bearer is not None
    assert bearer.name == "anna"
    assert tokens.bearer(token, now + timedelta(days=3)) is None
    listed = site.invoke(app, ["token", "list"]).output
    assert said.split(",")[0] in listed
    assert token not in listed
    revoked = site.invoke(app, ["token", "revoke", said.split(",")[0], "--by", "admin"])
    assert revoked.exit_code == 0
    assert tokens.bearer(token, now) is None
    assert "revoked" in site.invoke(app, ["token", "list"]).output


def test_a_token_for_nobody_or_for_too_long_is_refused_in_words(site: CliRunner) -> None:
    nobody = site.invoke(app, ["token", "issue", "ben", "--by", "admin"])
    long = site.invoke(app, ["token", "issue", "anna", "--by", "admin", "--days", "4000"])
    assert (nobody.exit_code, long.exit_code) == (1, 1)
    assert "no open account" in nobody.output
    assert "token.lifetime" in long.output


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def noted(open_unit_of_work: OpenUnitOfWork) -> None:
    """An old entry and a new one."""
    now = SystemClock().now()
    with open_unit_of_work() as uow:
        for number, days in ((1, 400), (2, 0)):
            act = Act(actor="anna", at=now - timedelta(days=days), request_id=f"r{number}")
            refs = {"review": UUID(int=number)}
            uow.audit_log.append(act.entry(UUID(int=number), AuditKind.REVIEW_READ, **refs))
        uow.commit()


@pytest.mark.usefixtures("noted")
def test_the_log_is_exported_as_valid_audit_events_the_oldest_first_and_says_so_itself(
    site: CliRunner, tmp_path: Path
) -> None:
    out = tmp_path / "events.ndjson"
    done = site.invoke(app, ["ledger", "auditevents", "--by", "olga", "--out", str(out)])
    assert done.exit_code == 0, done.output
    events = lines(out)
    assert [each["subtype"][-1]["code"] for each in events] == [
        "review.read.v1",
        "review.read.v1",
        "ledger.exported.v1",
    ]
    for each in events:
        assert_valid_everywhere(each)
    assert events[-1]["agent"][2]["name"] == "olga"


@pytest.mark.usefixtures("noted")
def test_a_part_of_the_log_is_exported_by_its_time(site: CliRunner, tmp_path: Path) -> None:
    out, now = tmp_path / "events.ndjson", SystemClock().now()
    a_year_ago = (now - timedelta(days=365)).date().isoformat()
    arguments = ["ledger", "auditevents", "--by", "olga", "--out", str(out)]
    assert site.invoke(app, [*arguments, "--until", a_year_ago]).exit_code == 0
    assert [each["id"] for each in lines(out)] == [str(UUID(int=1))]
    assert site.invoke(app, [*arguments, "--since", a_year_ago]).exit_code == 0
    assert str(UUID(int=1)) not in [each["id"] for each in lines(out)]


@pytest.mark.usefixtures("noted")
def test_without_a_file_the_lines_go_to_standard_output(site: CliRunner) -> None:
    done = site.invoke(app, ["ledger", "auditevents", "--by", "olga"])
    assert json.loads(done.stdout.splitlines()[0])["resourceType"] == "AuditEvent"
