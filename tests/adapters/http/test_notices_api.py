"""Warnings on lines, items and the page; another look; and plans of a model that may not answer."""

from uuid import UUID, uuid4

import pytest

from clinical.prediction.registry import Concern
from clinical.services.registry import RegistryService
from tests.adapters.http.conftest import Stage
from tests.adapters.http.stage import FINGERPRINT
from tests.adapters.http.taking_back import take_back
from tests.adapters.http.test_plans_api import add_shipped_patient, compare
from tests.adapters.http.test_reviews_api import problem_code

pytestmark = pytest.mark.integration


def registry(stage: Stage) -> RegistryService:
    deps = stage.deps
    return RegistryService(
        open_unit_of_work=deps.open_unit_of_work, clock=deps.clock, identities=deps.identities
    )


def recall(stage: Stage) -> None:
    target = stage.deps.recalls.of_model(FINGERPRINT.name)
    stage.deps.recalls.recall(target, "eva", Concern.DRIFT, "a note")


def sign(stage: Stage, review_id: UUID) -> int:
    stage.write(f"/v1/reviews/{review_id}:claim", version=1)
    answer = stage.write(f"/v1/reviews/{review_id}:sign", version=2, body={"verdict": "agree"})
    return answer.status_code


def kinds(stage: Stage, review_id: UUID) -> list[str]:
    return [w["kind"] for w in stage.get(f"/v1/reviews/{review_id}").json()["warnings"]]


def test_a_stop_is_told_on_the_page_the_line_and_the_item_and_signing_goes_on(
    stage: Stage,
) -> None:
    stage.sign_in()
    review_id = stage.add_patient("a")
    before = stage.get("/v1/notices").json()
    assert (before["stopped"], before["num_to_look_at"]) == ([], 0)
    assert kinds(stage, review_id) == []
    registry(stage).stop(FINGERPRINT.manifest_digest, "eva", Concern.SAFETY, "harm")
    now = stage.get("/v1/notices").json()
    assert now["stamp"] != before["stamp"]
    [stopped] = now["stopped"]
    assert (stopped["name"], stopped["concern"], stopped["note"]) == ("staged", "safety", "harm")
    [line] = stage.get("/v1/reviews").json()["reviews"]
    assert [w["kind"] for w in line["warnings"]] == ["model_stopped"]
    assert kinds(stage, review_id) == ["model_stopped"]
    assert sign(stage, review_id) == 200


def test_a_stopped_model_that_nothing_open_rests_on_is_not_cried_about(stage: Stage) -> None:
    stage.sign_in()
    review_id = stage.add_patient("a")
    other = registry(stage)
    fingerprint = FINGERPRINT.__class__(
        name="next", version="2", manifest_digest="ef" * 32, vocabulary_digest="cd" * 32
    )
    other.register(fingerprint, "eva")
    other.propose("next", "eva")
    other.promote("next", "anna")
    other.stop("staged", "eva", Concern.REPLACED)
    assert len(stage.get("/v1/notices").json()["stopped"]) == 1
    sign(stage, review_id)
    assert stage.get("/v1/notices").json()["stopped"] == []
    assert kinds(stage, review_id) == ["model_stopped"]


def test_a_recall_is_told_and_another_look_is_asked_for_and_noted(stage: Stage) -> None:
    stage.sign_in()
    signed, opened = stage.add_patient("a"), stage.add_patient("b")
    sign(stage, signed)
    recall(stage)
    assert kinds(stage, signed) == ["recalled", "needs_another_look"]
    assert kinds(stage, opened) == ["recalled"]
    assert stage.get(f"/v1/reviews/{opened}").json()["review"]["state"] == "withdrawn"
    wanted = stage.get("/v1/reviews?relook=true&state=signed").json()
    assert [line["review"]["review_id"] for line in wanted["reviews"]] == [str(signed)]
    assert stage.get("/v1/notices").json()["num_to_look_at"] == 1
    assert stage.write(f"/v1/reviews/{signed}:look-again").status_code == 204
    assert kinds(stage, signed) == ["recalled", "looked_again"]
    assert stage.get("/v1/reviews?relook=true&state=signed").json()["total"] == 0
    again = stage.write(f"/v1/reviews/{signed}:look-again")
    assert (again.status_code, problem_code(again)) == (409, "recall.nothing_to_look_at")
    assert stage.write(f"/v1/reviews/{uuid4()}:look-again").status_code == 404


def test_what_is_out_of_date_is_told_on_the_line_and_the_item_with_why_and_since_when(
    stage: Stage,
) -> None:
    stage.sign_in()
    review_id = stage.add_patient("a")
    before = stage.get("/v1/notices").json()["stamp"]
    assert stage.get(f"/v1/reviews/{review_id}").json()["stale"] is None
    take_back(stage.deps, review_id)
    assert stage.get("/v1/notices").json()["stamp"] != before
    item = stage.get(f"/v1/reviews/{review_id}").json()
    assert item["stale"]["reason"] == "withdrawn"
    [warning] = item["warnings"]
    assert (warning["kind"], warning["note"]) == ("stale", "withdrawn")
    assert warning["at"] == item["stale"]["since"]
    [line] = stage.get("/v1/reviews").json()["reviews"]
    assert [w["kind"] for w in line["warnings"]] == ["stale"]
    assert sign(stage, review_id) == 200


def test_what_was_signed_and_is_out_of_date_is_to_be_looked_at_again(stage: Stage) -> None:
    stage.sign_in()
    review_id = stage.add_patient("a")
    sign(stage, review_id)
    take_back(stage.deps, review_id)
    assert kinds(stage, review_id) == ["stale", "needs_another_look"]
    assert stage.get("/v1/notices").json()["num_to_look_at"] == 1
    assert stage.write(f"/v1/reviews/{review_id}:look-again").status_code == 204
    assert kinds(stage, review_id) == ["stale", "looked_again"]


def test_plans_are_not_compared_by_a_stopped_model(stage: Stage) -> None:
    stage.sign_in()
    review_id = add_shipped_patient(stage)
    registry(stage).stop("staged", "eva", Concern.DATA)
    refused = compare(stage, review_id)
    assert (refused.status_code, problem_code(refused)) == (409, "model.stopped")
    assert stage.get(f"/v1/reviews/{review_id}/plan-comparisons").json()["comparisons"] == []


def test_only_who_is_signed_in_reads_notices_and_only_the_page_writes(stage: Stage) -> None:
    assert stage.get("/v1/notices").status_code == 401
    review_id = stage.add_patient("a")
    stage.sign_in()
    assert stage.client.post(f"/v1/reviews/{review_id}:look-again").status_code == 403
