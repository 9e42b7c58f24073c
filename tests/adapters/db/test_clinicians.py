"""Local accounts: who knows the password is let in, and nobody learns which names exist."""

import time
from statistics import median

import pytest
from sqlalchemy import Engine, text

from adapters.db.clinicians import Clinician, ClinicianExistsError, Clinicians

pytestmark = pytest.mark.integration

ADA = Clinician(name="dr-ada", display_name="Dr. Ada É", role="clinician")


@pytest.fixture
def clinicians(engine: Engine) -> Clinicians:
    accounts = Clinicians(engine)
    assert accounts.add(ADA.name, ADA.display_name, "correct horse", ADA.role) == ADA
    return accounts


def test_the_right_password_lets_in(clinicians: Clinicians) -> None:
    assert clinicians.verify("dr-ada", "correct horse") == ADA


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("dr-ada", "correct horsf"),
        ("dr-ada", ""),
        ("dr-ada", "surrogate\ud800"),
        ("Dr-Ada", "correct horse"),
        ("dr-ada ", "correct horse"),
        ("nobody", "correct horse"),
        ("nul\x00", "correct horse"),
        ("surrogate\ud800", "correct horse"),
        ("' OR true --", "correct horse"),
    ],
)
def test_anything_else_does_not(clinicians: Clinicians, name: str, password: str) -> None:
    assert clinicians.verify(name, password) is None


def test_a_name_is_given_once_and_the_first_password_stays(clinicians: Clinicians) -> None:
    with pytest.raises(ClinicianExistsError):
        clinicians.add("dr-ada", "Another", "other password", "clinician")
    assert clinicians.verify("dr-ada", "other password") is None
    assert clinicians.verify("dr-ada", "correct horse") == ADA


def test_a_closed_account_lets_nobody_in(clinicians: Clinicians, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE clinicians SET is_active = false"))
    assert clinicians.verify("dr-ada", "correct horse") is None


def test_only_a_salted_hash_is_stored(clinicians: Clinicians, engine: Engine) -> None:
    clinicians.add("dr-ben", "Ben", "correct horse", "clinician")
    with engine.connect() as connection:
        stored = list(connection.execute(text("SELECT password FROM clinicians")).scalars())
    assert len(set(stored)) == 2
    assert all(hashed.startswith("scrypt$") for hashed in stored)
    assert "horse" not in "".join(stored)


def test_an_unknown_name_costs_the_time_of_a_known_one(clinicians: Clinicians) -> None:
    def seconds(name: str) -> float:
        began = time.process_time()
        clinicians.verify(name, "wrong password")
        return time.process_time() - began

    known, unknown = (median(seconds(name) for _ in range(5)) for name in ("dr-ada", "nobody"))
    assert unknown == pytest.approx(known, rel=0.5)
