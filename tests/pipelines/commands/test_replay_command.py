"""`clinical replay` says by its words and its status how an answer compares, or why it cannot be computed."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
import torch
from sqlalchemy import Engine, text

from clinical.audit.entry import Act
from clinical.prediction.memory import Answered
from clinical.services.prediction import PredictionService
from clinical.worldmodel import checkpoint
from pipelines.commands.processes import shipped_checkpoint
from tests.fakes import SeededIdentities, SettableClock
from tests.pipelines.evaluation.conftest import patient, story
from tests.stack import CLINICAL

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]


class InThisProcess:
    """The shipped model without a process around it: what was stored was not computed by the server."""

    def __init__(self) -> None:
        self._model = checkpoint.load(shipped_checkpoint())

    def fingerprint(self):
        return self._model.fingerprint

    def answer(self, request, timeline, memory):
        # The last bits of a sum depend on how many threads share it; the server uses one.
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        [forecast] = self._model.forecast([(request, timeline)])
        torch.set_num_threads(before)
        return Answered(forecast)


@pytest.fixture
def prediction_id(open_unit_of_work) -> UUID:
    clock, ref = SettableClock(), patient(0)
    service = PredictionService(
        open_unit_of_work=open_unit_of_work,
        clock=clock,
        identities=SeededIdentities(),
        models=InThisProcess(),
    )
    with open_unit_of_work() as uow:
        uow.timelines.add(story(0), {ref.patient_id: ref})
        uow.commit()
    return service.make(ref.patient_id, Act(actor="worker", at=clock.now()))


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Run:
    def command(*words: object, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.defpath,
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "COLUMNS": "200",
            "CLINICAL_DATABASE_URL": database_url,
            "CLINICAL_DATA_DIR": str(tmp_path / "data"),
            "CLINICAL_MODEL_PORT": "0",
            **settings,
        }
        return subprocess.run(
            [*CLINICAL, "replay", *map(str, words)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    return command


def test_an_equal_answer_ends_with_0_and_an_edited_one_with_1_and_says_in_what(
    run: Run, prediction_id: UUID, engine: Engine
) -> None:
    done = run(prediction_id)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"prediction {prediction_id}: bitwise equal" in done.stdout
    assert "promised R0" in done.stdout
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("UPDATE predictions SET familiarity = familiarity + 0.25"))
    edited = run(prediction_id, "--json")
    assert edited.returncode == 1, edited.stderr
    said = json.loads(edited.stdout)
    assert (said["verdict"], said["promised"]) == ("different", "R0")
    [difference] = said["differences"]
    assert (difference["what"], difference["is_within_tolerance"]) == ("familiarity", False)
    assert difference["size"] == pytest.approx(0.25)


def test_an_answer_of_another_model_takes_its_checkpoint(
    run: Run, prediction_id: UUID, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(shipped_checkpoint(), other)
    manifest = json.loads((other / checkpoint.MANIFEST).read_text())
    (other / checkpoint.MANIFEST).write_text(json.dumps({**manifest, "version": "next"}))
    refused = run(prediction_id, "--json", CLINICAL_MODEL_CHECKPOINT=str(other))
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["why"] == "prediction.other_model"
    assert "--checkpoint" in refused.stderr
    named = run(
        prediction_id, "--checkpoint", shipped_checkpoint(), CLINICAL_MODEL_CHECKPOINT=str(other)
    )
    assert named.returncode == 0, named.stderr


def test_what_cannot_be_replayed_ends_with_2_and_its_reason(
    run: Run, prediction_id: UUID, engine: Engine, tmp_path: Path
) -> None:
    nowhere = run(prediction_id, "--checkpoint", tmp_path / "nothing")
    assert nowhere.returncode == 2
    assert "process.child_died" in nowhere.stderr
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM events WHERE record_id = '0-o3'"))
    changed = run(prediction_id)
    assert changed.returncode == 2
    assert "prediction.changed_input" in changed.stderr
    assert "0-o3" not in changed.stderr
