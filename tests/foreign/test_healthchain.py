"""HealthChain's sandbox as a client: live where it is installed, else by the bytes that it once sent."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.http.app import create_app
from adapters.http.cds_schemas import Cards
from tests.adapters.http.cds_stage import cds_site, with_cds
from tests.adapters.http.conftest import Stage, StageClock, dependencies, served
from tests.adapters.http.stage import StagedModel

pytestmark = pytest.mark.integration
FOLDER = Path(__file__).parent
SENT = FOLDER / "healthchain-0.16.1"
# What each is answered: nobody here knows the patients that it makes up.
ANSWERS = {
    "made-up": (412, "cds.prefetch_unsatisfied"),
    "bundle": (412, "cds.prefetch_unsatisfied"),
    "known": (200, ""),
    "bundle-known": (200, ""),
    "discharge": (400, "cds.invalid_call"),
}
SERVICES = "/cds/north/cds-services"
_PYTHON = os.environ.get("CLINICAL_HEALTHCHAIN_PYTHON")  # noqa: TID251 - of the tests themselves
_KEEPS = bool(os.environ.get("CLINICAL_HEALTHCHAIN_KEEP"))  # noqa: TID251


@pytest.fixture
def stage(engine: Engine) -> Iterator[Stage]:
    """A site that lets clients in that say nothing of themselves, and knows one patient."""
    clock, model = StageClock(), StagedModel()
    deps = dependencies(engine, clock, model)
    site = cds_site(engine, clock, is_required=False)
    app = create_app(replace(deps, cds=with_cds(deps, {"north": site})))
    with served(app) as client:
        made = Stage(engine=engine, deps=deps, clock=clock, model=model, app=app, client=client)
        made.add_patient("p1")
        yield made


@pytest.mark.parametrize("name", ANSWERS)
def test_what_healthchain_sent_is_answered(stage: Stage, name: str) -> None:
    body = (SENT / f"{name}.request.json").read_bytes()
    headers = {"content-type": "application/json"}
    answer = stage.client.post(f"{SERVICES}/forecast", content=body, headers=headers)
    _require(name, answer.status_code, answer.json())


def test_healthchain_sends_a_bundle_from_a_file_as_a_prefetch_without_keys() -> None:
    sent = json.loads((SENT / "bundle-known.request.json").read_bytes())
    assert sent["prefetch"]["resourceType"] == "Bundle"


def test_healthchain_leaves_the_encounter_of_a_discharge_out() -> None:
    sent = json.loads((SENT / "discharge.request.json").read_bytes())
    assert set(sent["context"]) == {"userId", "patientId"}


@pytest.mark.skipif(_PYTHON is None, reason="HealthChain is not installed beside this project")
def test_the_sandbox_client_itself_gets_cards(stage: Stage, tmp_path: Path) -> None:
    assert _PYTHON is not None
    program = [_PYTHON, str(FOLDER / "healthchain_client.py")]
    services = f"{stage.client.base_url}{SERVICES}"
    done = subprocess.run(
        [*program, services, "p1", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name, (status, _) in ANSWERS.items():
        told = json.loads((tmp_path / f"{name}.answer.json").read_text())
        _require(name, told["status"], told["body"])
        if status == 200:
            assert told["understood"]["cards"][0]["summary"]
        if _KEEPS:
            kept = f"{name}.request.json"
            (SENT / kept).write_bytes((tmp_path / kept).read_bytes())


def _require(name: str, status: int, told: Any) -> None:
    wanted, code = ANSWERS[name]
    assert status == wanted, told
    if wanted == 200:
        [card] = Cards.model_validate(told).cards
        assert card.uuid is not None
    else:
        assert told["type"].endswith(code)
