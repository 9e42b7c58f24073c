"""J5: a clinician compares plans for a patient who came in by webhook; the model process answers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from adapters.db.clinicians import Clinicians
from adapters.db.embedded import EmbeddedPostgres
from adapters.db.engine import create_engine
from adapters.db.unit_of_work import unit_of_work_factory
from clinical.audit.entry import AuditKind
from clinical.audit.sealing import sealed
from clinical.prediction.plan import COURSE_UNDER_PLAN
from clinical.services.ports import OpenUnitOfWork
from tests.journeys.conftest import PASSWORD, SECRET, SITE
from tests.journeys.visitor import deliver
from tests.planning import checkpoint_with, constant_probes, local_model, shipped_bundle
from tests.stack import up, wait_until

pytestmark = pytest.mark.integration
WISHES = {
    "decisions": [{"name": "influenza-vaccine"}, {"name": "depression-screening"}],
    "goals": ["systolic-below-130"],
}


class Desk:
    """A clinician at a running site, with one review to look at."""

    def __init__(
        self, client: httpx.Client, review_id: UUID, open_unit_of_work: OpenUnitOfWork, folder: Path
    ) -> None:
        self.client, self.review_id = client, review_id
        self.open_unit_of_work, self.folder = open_unit_of_work, folder

    @property
    def path(self) -> str:
        return f"/v1/reviews/{self.review_id}/plan-comparisons"

    def compare(self, wishes: dict[str, Any]) -> httpx.Response:
        return self.client.post(self.path, json=wishes)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A site of its own: its model can say how usual actions are."""
    folder = tmp_path_factory.mktemp("plans")
    inference = local_model().planner.inference
    settings = {
        "CLINICAL_WEBHOOK_SECRETS": json.dumps({SITE: [SECRET]}),
        "CLINICAL_MODEL_CHECKPOINT": str(
            checkpoint_with(constant_probes(inference, -1.0), folder / "checkpoint")
        ),
    }
    with up(folder, settings) as (started, web_url):
        with EmbeddedPostgres(folder / "data" / "postgres") as server:
            engine = create_engine(server.url)
            Clinicians(engine).add("dr-clark", "Dr Clark", PASSWORD, "clinician")
            open_unit_of_work = unit_of_work_factory(engine)
            assert deliver(web_url, SITE, SECRET, shipped_bundle()[0]).status_code == 202
            with httpx.Client(
                base_url=web_url,
                timeout=60,
                trust_env=False,
                headers={"X-Clinical-Request": "1"},
            ) as client:
                credentials = {"name": "dr-clark", "password": PASSWORD}
                assert client.post("/v1/session", json=credentials).status_code == 201
                wait_until(lambda: client.get("/v1/reviews").json()["total"] == 1)
                [line] = client.get("/v1/reviews").json()["reviews"]
                review_id = UUID(line["review"]["review_id"])
                yield Desk(client, review_id, open_unit_of_work, folder)
            engine.dispose()
        assert started.stop() == 0


def test_plans_are_compared_by_the_model_process_and_read_back(desk: Desk) -> None:
    library = desk.client.get("/v1/plan-library").json()
    plannable = {
        f"{d['name']}/{c['name']}": c["is_plannable"]
        for d in library["decisions"]
        for c in d["choices"]
    }
    assert plannable["influenza-vaccine/give"]
    assert not plannable["statin/simvastatin-20"]

    answer = desk.compare(WISHES)

    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert told["withheld"] is None
    assert told["wording"] == COURSE_UNDER_PLAN
    energies = [option["energy"] for option in told["options"]]
    assert energies == sorted(energies)
    assert len(energies) == 4
    assert desk.client.get(desk.path).json()["comparisons"][0] == told
    again = desk.compare(WISHES).json()
    assert again["output_digest"] == told["output_digest"]
    assert again["comparison_id"] != told["comparison_id"]


def test_the_audit_log_proves_who_compared_what(desk: Desk) -> None:
    told = desk.compare(WISHES).json()
    with desk.open_unit_of_work() as uow:
        [entry] = uow.audit_log.history(comparison=told["comparison_id"])
        salt = uow.audit_log.salts([entry.entry_id])[entry.entry_id]
        stored = uow.plan_comparisons.get(UUID(told["comparison_id"]))
    assert entry.kind is AuditKind.PLANS_COMPARED
    assert entry.actor == "dr-clark"
    assert stored.comparison.output_digest == told["output_digest"]
    assert {name: entry.refs[name] for name in entry.sealed_refs} == {
        name: sealed(salt, name, value) for name, value in stored.sealed_content.items()
    }
    proof = f"/v1/audit/entries/{entry.entry_id}/proof"
    wait_until(lambda: desk.client.get(proof).status_code == 200)


def test_what_the_model_never_learned_is_refused_by_name_across_the_processes(desk: Desk) -> None:
    answer = desk.compare(WISHES | {"decisions": [{"name": "statin"}]})
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("plan.unknown_action")
    assert "simvastatin 20 mg" in answer.json()["detail"]


def test_no_log_names_the_patient_or_the_plan(desk: Desk) -> None:
    desk.compare(WISHES)
    with desk.open_unit_of_work() as uow:
        review = uow.reviews.get(desk.review_id)
        record_id = uow.timelines.patient(review.patient_id).record_id
    logs = [path.read_text() for path in (desk.folder / "data" / "logs").glob("*.log")]
    assert logs
    for log in logs:
        assert record_id not in log
        assert "influenza" not in log
