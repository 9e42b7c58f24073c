"""J6: a model is stopped while predictions flow, promoted again by two people, and recalled: real processes."""

import csv
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from adapters.db.clinicians import Clinicians
from adapters.db.embedded import EmbeddedPostgres
from adapters.db.engine import create_engine
from adapters.db.unit_of_work import unit_of_work_factory
from clinical.review.review import ReviewState
from clinical.services.ports import OpenUnitOfWork, WorklistQuery
from tests.journeys.bundles import bundle, observation, patient
from tests.journeys.conftest import PASSWORD, SECRET, SITE
from tests.journeys.visitor import Clinician, deliver
from tests.stack import CLINICAL, Started, up, wait_until

pytestmark = pytest.mark.integration
SECONDS_TO_OBEY = 5.0


@dataclass
class Flowing:
    """A site to which patients keep coming."""

    started: Started
    web_url: str
    folder: Path
    open_unit_of_work: OpenUnitOfWork
    anna: Clinician
    num_sent: int = 0

    def send(self) -> None:
        record_id = f"flow-{self.num_sent}"
        observed = [observation(f"{record_id}-{n}", record_id) for n in range(3)]
        answer = deliver(self.web_url, SITE, SECRET, bundle(patient(record_id), *observed))
        assert answer.status_code == 202
        self.num_sent += 1

    def num_predictions(self) -> int:
        with self.open_unit_of_work() as uow:
            return len(list(uow.predictions.all()))

    def num_waiting(self) -> int:
        with self.open_unit_of_work() as uow:
            return uow.outbox.pending()

    def reviews(self, state: ReviewState) -> list[UUID]:
        with self.open_unit_of_work() as uow:
            found = uow.reviews.worklist(WorklistQuery(states=frozenset({state}), limit=1000))
        return [review.review_id for review in found]

    def run(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """A command of an operator, beside the running site."""
        return subprocess.run(
            [*CLINICAL, *arguments],
            env=self.started.environment,
            cwd=self.folder,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture(scope="module")
def flowing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flowing]:
    folder = tmp_path_factory.mktemp("stop")
    settings = {"CLINICAL_WEBHOOK_SECRETS": json.dumps({SITE: [SECRET]})}
    with (
        up(folder, settings) as (started, web_url),
        EmbeddedPostgres(folder / "data" / "postgres") as server,
    ):
        engine = create_engine(server.url)
        for name in ("anna", "ben"):
            Clinicians(engine).add(name, name.title(), PASSWORD, "clinician")
        anna = Clinician(web_url, "anna", PASSWORD)
        yield Flowing(started, web_url, folder, unit_of_work_factory(engine), anna)
        anna.close()
        engine.dispose()


def test_stopped_while_predictions_flow_nothing_new_is_stored_or_shown(flowing: Flowing) -> None:
    is_over = threading.Event()

    def keep_sending() -> None:
        while not is_over.is_set():
            flowing.send()
            is_over.wait(0.2)

    sender = threading.Thread(target=keep_sending)
    sender.start()
    try:
        wait_until(lambda: flowing.num_predictions() >= 3)
        done = flowing.run("stop", "synthea-small", "--by", "eva", "--reason", "safety")
        assert done.returncode == 0, done.stderr
        num_at_stop = flowing.num_predictions()
        shown = flowing.anna.get("/v1/reviews")["total"]
        num_sent = flowing.num_sent
        time.sleep(SECONDS_TO_OBEY)
        wait_until(lambda: flowing.num_sent >= num_sent + 10)
    finally:
        is_over.set()
        sender.join()
    assert flowing.num_predictions() == num_at_stop < flowing.num_sent
    assert flowing.anna.get("/v1/reviews")["total"] == shown
    told = flowing.anna.get("/v1/notices")
    assert [(m["name"], m["concern"]) for m in told["stopped"]] == [("synthea-small", "safety")]
    wait_until(
        lambda: (
            flowing.anna.get("/v1/notices")["num_predictions_held_up"]
            == flowing.num_sent - num_at_stop
        )
    )


def test_what_was_begun_can_be_signed_while_the_model_is_stopped(flowing: Flowing) -> None:
    review_id = flowing.reviews(ReviewState.QUEUED)[0]
    version = flowing.anna.claim(review_id)
    item = flowing.anna.get(f"/v1/reviews/{review_id}")
    assert [warning["kind"] for warning in item["warnings"]] == ["model_stopped"]
    assert flowing.anna.sign(review_id, "agree", version).status_code == 200


def test_one_person_cannot_promote_it_again_two_can_and_what_waited_goes_on(
    flowing: Flowing,
) -> None:
    def promotion(move: str, who: str, password: str) -> subprocess.CompletedProcess[str]:
        move_it = ("models", move, "synthea-small", "--by", who, "--password-stdin")
        return flowing.run(*move_it, typed=f"{password}\n")

    assert "clinician.bad_password" in promotion("propose", "anna", "a wrong password").stderr
    assert promotion("propose", "anna", PASSWORD).returncode == 0
    alone = promotion("promote", "anna", PASSWORD)
    assert (alone.returncode, "model.same_person" in alone.stderr) == (1, True)
    assert promotion("promote", "ben", PASSWORD).returncode == 0
    wait_until(lambda: flowing.num_predictions() == flowing.num_sent, seconds=120)
    wait_until(lambda: not flowing.num_waiting())
    assert flowing.anna.get("/v1/notices")["stopped"] == []
    history = flowing.run("models", "show", "synthea-small").stdout
    for step in ("installed by worker", "stopped by eva: safety", "promoted by ben"):
        assert step in history


def test_a_recalled_model_is_listed_withdrawn_and_looked_at_again(flowing: Flowing) -> None:
    looked = flowing.run("recall", "--model", "synthea-small", "--dry-run")
    assert looked.returncode == 0, looked.stderr
    assert "Nothing was changed." in looked.stdout
    num_open = len(flowing.reviews(ReviewState.QUEUED))
    assert num_open == flowing.num_sent - 1
    by = ("--by", "eva", "--reason", "performance", "--out", "touched.csv")
    done = flowing.run("recall", "--model", "synthea-small", *by)
    assert done.returncode == 0, done.stderr
    assert f"{num_open} open reviews withdrawn, 1 signed ones" in " ".join(done.stdout.split())
    assert len(flowing.reviews(ReviewState.WITHDRAWN)) == num_open
    assert flowing.anna.get("/v1/reviews", relook="true", state="signed")["total"] == 1
    file = flowing.folder / "touched.csv"
    assert file.stat().st_mode & 0o077 == 0
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == flowing.num_sent
    assert [row["signed_by"] for row in rows if row["review_state"] == "signed"] == ["anna"]


def test_a_record_is_recalled_by_name(flowing: Flowing) -> None:
    by = ("--by", "eva", "--reason", "data", "--out", "touched.json")
    done = flowing.run("recall", "--input", "Observation/flow-1-0", *by)
    assert done.returncode == 0, done.stderr
    told = json.loads((flowing.folder / "touched.json").read_text())
    assert (told["target"], len(told["predictions"])) == (f"{SITE} Observation/flow-1-0", 1)
    unknown = flowing.run("recall", "--input", "Observation/nobodys", "--dry-run")
    assert (unknown.returncode, "clinical.not_found" in unknown.stderr) == (1, True)
    assert flowing.run("recall", "--dry-run").returncode == 2
