"""`clinical clinician add`: whoever is added may sign in, and a password is never seen."""

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from adapters.db.clinicians import Clinicians
from pipelines.cli import app

pytestmark = pytest.mark.integration

PASSWORD = "correct horse battery"


@pytest.fixture
def site(database_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("CLINICAL_DATABASE_URL", database_url)
    return CliRunner()


def test_a_clinician_is_added_with_a_password_from_standard_input(
    site: CliRunner, engine: Engine
) -> None:
    arguments = ["clinician", "add", "anna", "--display-name", "Dr Anna", "--password-stdin"]
    done = site.invoke(app, arguments, input=f"{PASSWORD}\n")
    assert (done.exit_code, PASSWORD in done.output) == (0, False)
    clinician = Clinicians(engine).verify("anna", PASSWORD)
    assert clinician is not None
    assert (clinician.display_name, clinician.role) == ("Dr Anna", "clinician")


def test_the_password_is_asked_for_twice_and_not_shown(site: CliRunner, engine: Engine) -> None:
    done = site.invoke(app, ["clinician", "add", "ben"], input=f"{PASSWORD}\n{PASSWORD}\n")
    assert (done.exit_code, PASSWORD in done.output) == (0, False)
    assert Clinicians(engine).verify("ben", PASSWORD) is not None


def test_a_short_password_and_a_taken_name_are_refused_in_words(
    site: CliRunner, engine: Engine
) -> None:
    short = site.invoke(app, ["clinician", "add", "anna", "--password-stdin"], input="short\n")
    assert (short.exit_code, "at least 12 characters" in short.output) == (1, True)
    Clinicians(engine).add("anna", "Dr Anna", PASSWORD, "clinician")
    taken = site.invoke(
        app, ["clinician", "add", "anna", "--password-stdin"], input=f"{PASSWORD}\n"
    )
    assert taken.exit_code == 1
    assert "clinician.exists" in taken.output
