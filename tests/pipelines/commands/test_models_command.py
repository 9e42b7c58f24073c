"""`clinical models`, `stop` and `recall`: what an operator types, and how it is refused in words."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from adapters.db.clinicians import Clinicians
from pipelines.cli import app
from pipelines.commands.processes import shipped_checkpoint

pytestmark = pytest.mark.integration
PASSWORD = "correct horse battery"


@pytest.fixture
def site(database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("CLINICAL_DATABASE_URL", database_url)
    for name in ("anna", "ben"):
        Clinicians(engine).add(name, name, PASSWORD, "clinician")
    return CliRunner()


def say(site: CliRunner, *arguments: str, code: int = 0) -> str:
    done = site.invoke(app, list(arguments), input=f"{PASSWORD}\n")
    assert done.exit_code == code, done.output
    return done.output


def test_a_checkpoint_is_registered_promoted_by_two_and_stopped(site: CliRunner) -> None:
    folder = str(shipped_checkpoint())
    said = say(site, "models", "register", folder, "--by", "eva")
    digest = said.split()[0]
    assert "registered" in said
    assert say(site, "models", "register", folder, "--by", "eva") == said
    account = ("--password-stdin", "--by")
    refused = say(site, "models", "promote", digest[:10], *account, "ben", code=1)
    assert "model.not_proposed" in refused
    say(site, "models", "propose", digest[:10], *account, "anna")
    alone = say(site, "models", "promote", digest, *account, "anna", code=1)
    assert "model.same_person" in alone
    assert "promoted" in say(site, "models", "promote", digest, "--by", "ben")  # asks
    assert digest[:12] in say(site, "models", "list")
    note = ("--note", "too sure of itself")
    say(site, "stop", digest[:10], "--by", "eva", "--reason", "performance", *note)
    history = say(site, "models", "show", digest[:10])
    assert "stopped by eva: performance (too sure of itself)" in history


def test_a_stranger_promotes_nothing_and_nobody_stops_without_a_name(site: CliRunner) -> None:
    say(site, "models", "register", str(shipped_checkpoint()), "--by", "eva")
    stranger = say(
        site, "models", "propose", "synthea-small", "--by", "mallory", "--password-stdin", code=1
    )
    assert "clinician.bad_password" in stranger
    say(site, "stop", "synthea-small", "--by", " ", "--reason", "safety", code=2)
    say(site, "stop", "synthea-small", "--by", "eva", "--reason", "a whim", code=2)
    assert "clinical.not_found" in say(
        site, "stop", "no-such", "--by", "eva", "--reason", "safety", code=1
    )


def test_a_folder_without_a_sound_checkpoint_is_not_registered(
    site: CliRunner, tmp_path: Path
) -> None:
    said = say(site, "models", "register", str(tmp_path), "--by", "eva", code=1)
    assert "worldmodel.missing_checkpoint" in said


def test_a_recall_of_nothing_says_so_and_bad_words_change_nothing(
    site: CliRunner, tmp_path: Path
) -> None:
    say(site, "models", "register", str(shipped_checkpoint()), "--by", "eva")
    out = tmp_path / "touched.json"
    say(site, "recall", "--model", "synthea-small", "--dry-run", "--out", str(out))
    assert json.loads(out.read_text())["predictions"] == []
    for wrong in (
        ("--model", "m", "--input", "a/b", "--dry-run"),
        ("--model", "synthea-small"),
        ("--model", "synthea-small", "--dry-run", "--out", "touched.txt"),
    ):
        say(site, "recall", *wrong, code=2)
    malformed = say(site, "recall", "--input", "Observation", "--dry-run", code=1)
    assert "recall.malformed_record" in malformed
    nowhere = str(tmp_path / "no" / "where.csv")
    lost = say(site, "recall", "--model", "synthea-small", "--dry-run", "--out", nowhere, code=1)
    assert "recall.unwritable_file" in lost
