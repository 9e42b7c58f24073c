"""`clinical audit` starts a model process of its own, recomputes to the last bit, and says how it ended."""

import os
import subprocess
from pathlib import Path

import psutil
import pytest
import torch
from sqlalchemy import Engine, text

from clinical.audit.entry import Act
from clinical.prediction.memory import Answered
from clinical.services.audit import AuditService
from clinical.services.prediction import PredictionService
from clinical.worldmodel.checkpoint import load
from pipelines.samples import FOLDER
from tests.fakes import SeededIdentities, SettableClock
from tests.pipelines.evaluation.conftest import patient, story
from tests.stack import CLINICAL

pytestmark = pytest.mark.integration


class InThisProcess:
    """The shipped model without a process around it: what was stored was not computed by the server."""

    def __init__(self) -> None:
        self._model = load(FOLDER / "checkpoints" / "synthea-small")

    def fingerprint(self):
        return self._model.fingerprint

    def answer(self, request, timeline, memory):
        return Answered(self.forecast(request, timeline))

    def forecast(self, request, timeline):
        # The last bits of a sum depend on how many threads share it; the server uses one.
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        (forecast,) = self._model.forecast([(request, timeline)])
        torch.set_num_threads(before)
        return forecast


@pytest.fixture
def stored(open_unit_of_work) -> None:
    """Two predictions of the shipped model and a sequenced log."""
    clock = SettableClock()
    service = PredictionService(
        open_unit_of_work=open_unit_of_work,
        clock=clock,
        identities=SeededIdentities(),
        models=InThisProcess(),
    )
    for number in range(2):
        ref = patient(number)
        with open_unit_of_work() as uow:
            uow.timelines.add(story(number), {ref.patient_id: ref})
            uow.commit()
        service.make(ref.patient_id, Act(actor="worker", at=clock.now()))
    AuditService(open_unit_of_work=open_unit_of_work, clock=clock).sequence()


def run_audit(database_url: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it; its model process must be gone when it ends."""
    environment = {
        "PATH": os.defpath,
        "COLUMNS": "200",
        "CLINICAL_DATABASE_URL": database_url,
        "CLINICAL_DATA_DIR": str(folder / "data"),
        "CLINICAL_MODEL_PORT": "0",
        "CLINICAL_TEST_MARK": str(folder),
        **settings,
    }
    return subprocess.run(
        [*CLINICAL, "audit", "--out", str(folder / "report.html")],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def left_behind(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CLINICAL_TEST_MARK") == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_sound_site_passes_and_no_process_is_left_behind(
    stored: None, database_url: str, tmp_path: Path
) -> None:
    done = run_audit(database_url, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The audit log is sound over 6 entries." in done.stdout
    assert "All 2 recomputed predictions came back equal." in done.stdout
    assert "Passed." in (tmp_path / "report.html").read_text()
    assert left_behind(tmp_path) == []


def test_a_tampered_log_and_a_missing_model_fail_with_a_sentence_each(
    stored: None, database_url: str, engine: Engine, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("UPDATE audit_leaves SET leaf_hash = '' WHERE leaf_index = 2"))
    done = run_audit(database_url, tmp_path, CLINICAL_MODEL_CHECKPOINT=str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert "The audit log is NOT sound: the first bad entry has index 2." in done.stdout
    assert "Nothing was recomputed: no model (model.unavailable)." in done.stdout
    assert left_behind(tmp_path) == []
