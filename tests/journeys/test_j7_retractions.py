"""J7: what was predicted, read and signed is taken back by the EHR: real processes from the webhook on."""

import json
import subprocess
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from clinical.audit.entry import AuditKind
from clinical.review.review import Review, ReviewState
from clinical.timeline.patient import PatientRef
from tests.journeys.bundles import bundle, observation, patient
from tests.journeys.conftest import SECRET, SITE, Running
from tests.journeys.visitor import Clinician, deliver
from tests.stack import CLINICAL, wait_until

pytestmark = pytest.mark.integration

NUM_RESULTS = 6


@dataclass
class Story:
    """Somebody of whom the EHR tells."""

    site: Running
    record_id: str

    @property
    def patient_id(self) -> UUID:
        return PatientRef(SITE, self.record_id).patient_id

    def is_told(self, *resources: dict[str, Any]) -> None:
        """Deliver, and wait until everything is done that follows from it."""
        self.sends(bundle(*resources))

    def sends(self, body: bytes) -> None:
        answer = deliver(self.site.web_url, SITE, SECRET, body)
        assert answer.status_code == 202, answer.text
        wait_until(lambda: not self.site.num_waiting())

    def arrives(self) -> Review:
        results = [self.result(number) for number in range(NUM_RESULTS)]
        self.is_told(patient(self.record_id), *results)
        return self.open_review()

    def result(self, number: int, **changes: Any) -> dict[str, Any]:
        meta = {"versionId": "1", "lastUpdated": f"2025-06-0{number + 1}T10:00:00Z"}
        effective = f"2025-06-0{number + 1}T08:30:00Z"
        return observation(
            f"{self.record_id}-{number}",
            self.record_id,
            **{"meta": meta, "effectiveDateTime": effective, **changes},
        )

    def open_review(self) -> Review:
        with self.site.open_unit_of_work() as uow:
            [review] = uow.reviews.open_for(self.patient_id)
        return review

    def num_standing(self) -> int:
        with self.site.open_unit_of_work() as uow:
            return len(uow.timelines.of(self.patient_id))

    def replays_bit_for_bit(self, review: Review) -> bool:
        done = subprocess.run(
            [*CLINICAL, "replay", str(review.prediction_id), "--json"],
            env=self.site.started.environment,
            cwd=self.site.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)["verdict"] == "equal"


def sign(clinician: Clinician, review: Review) -> None:
    version = clinician.claim(review.review_id)
    assert clinician.sign(review.review_id, "agree", version).status_code == 200


def kinds(item: Any) -> list[str]:
    return [warning["kind"] for warning in item["warnings"]]


@pytest.fixture(scope="module")
def carl(site: Running) -> Story:
    return Story(site, "carl")


def test_a_signed_answer_that_rested_on_an_error_is_stale_looked_at_again_and_asked_again(
    carl: Story, adams: Clinician
) -> None:
    signed = carl.arrives()
    sign(adams, signed)
    address = f"/v1/reviews/{signed.review_id}"
    assert adams.get(address)["stale"] is None
    meta = {"versionId": "2", "lastUpdated": "2025-06-20T10:00:00Z"}
    carl.is_told(carl.result(2, meta=meta, status="entered-in-error"))

    with carl.site.open_unit_of_work() as uow:
        timeline = uow.timelines.of(carl.patient_id)
    assert (len(timeline.versions), len(timeline.standing)) == (NUM_RESULTS + 2, NUM_RESULTS)
    item = adams.get(address)
    assert item["stale"]["reason"] == "withdrawn"
    assert kinds(item) == ["stale", "needs_another_look"]
    assert (item["review"]["state"], item["decision"]["verdict"]) == ("signed", "agree")
    told = adams.get(f"{address}/history")["entries"]
    assert AuditKind.PREDICTION_STALE in {entry["kind"] for entry in told}
    lines = adams.get("/v1/reviews", relook="true", state="signed")["reviews"]
    assert str(signed.review_id) in {line["review"]["review_id"] for line in lines}

    again = carl.open_review()
    assert again.prediction_id != signed.prediction_id
    now = adams.get(f"/v1/reviews/{again.review_id}")
    assert (now["stale"], now["num_events"]) == (None, NUM_RESULTS)
    assert carl.replays_bit_for_bit(signed)
    assert carl.replays_bit_for_bit(again)


def test_an_open_answer_that_rested_on_a_deleted_record_is_replaced(
    carl: Story, adams: Clinician
) -> None:
    before = carl.open_review()
    entry = {
        "request": {"method": "DELETE", "url": f"Observation/{carl.record_id}-4"},
        "response": {"status": "204", "lastModified": "2025-06-21T10:00:00Z"},
    }
    history = {"resourceType": "Bundle", "type": "history", "entry": [entry]}
    carl.sends(json.dumps(history).encode())
    assert carl.num_standing() == NUM_RESULTS - 1
    item = adams.get(f"/v1/reviews/{before.review_id}")
    assert (item["stale"]["reason"], item["review"]["state"]) == ("withdrawn", "superseded")
    assert carl.open_review().prediction_id != before.prediction_id
    assert carl.replays_bit_for_bit(before)


def test_two_patients_are_one_and_two_again(site: Running, adams: Clinician) -> None:
    gone, kept = Story(site, "dora-old"), Story(site, "dora")
    of_gone, of_kept = gone.arrives(), kept.arrives()

    def record(version: int, **changes: Any) -> dict[str, Any]:
        meta = {"versionId": str(version), "lastUpdated": f"2025-07-0{version}T10:00:00Z"}
        return {**patient(gone.record_id), "meta": meta, **changes}

    link = [{"other": {"reference": f"Patient/{kept.record_id}"}, "type": "replaced-by"}]
    gone.is_told(record(2, active=False, link=link))
    with site.open_unit_of_work() as uow:
        assert uow.reviews.open_for(gone.patient_id) == []
    item = adams.get(f"/v1/reviews/{of_gone.review_id}")
    assert (item["review"]["state"], item["stale"]["reason"]) == ("withdrawn", "merged")
    joint = kept.open_review()
    shown = adams.get(f"/v1/reviews/{joint.review_id}")
    assert shown["num_events"] == 2 * NUM_RESULTS + 1
    for review in (of_gone, of_kept, joint):
        assert gone.replays_bit_for_bit(review)

    gone.is_told(record(3, active=True))
    assert adams.get(f"/v1/reviews/{joint.review_id}")["stale"]["reason"] == "separated"
    with site.open_unit_of_work() as uow:
        assert uow.reviews.get(joint.review_id).state is ReviewState.SUPERSEDED
    assert (gone.num_standing(), kept.num_standing()) == (NUM_RESULTS + 1, NUM_RESULTS + 1)
    assert kept.open_review().prediction_id != joint.prediction_id
    assert gone.open_review().prediction_id != joint.prediction_id
    assert gone.replays_bit_for_bit(joint)
