"""Taking back what an EHR was told: only ours, only the status, never over what somebody changed."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.fhir.assessment import URI_SYSTEM
from adapters.fhir.taking_back import take_back
from clinical.services.ports import EhrUnavailableError
from tests.adapters.fhir.ehrs import gateway_over, gateway_to, peer_at
from tests.adapters.fhir.test_outbound import write_back
from tests.sekmet import sekmet

OURS = "urn:uuid:00000000-0000-0000-0000-000000000005"
ASSESSMENT = {
    "resourceType": "RiskAssessment",
    "id": "7",
    "meta": {"versionId": "3"},
    "identifier": [{"system": URI_SYSTEM, "value": OURS}],
    "status": "final",
    "prediction": [{"relativeRisk": 1.0}],
}


class Server:
    """One resource that can be read and written over, by version."""

    def __init__(self, resource: dict[str, Any] | str = ASSESSMENT) -> None:
        self.text = resource if isinstance(resource, str) else json.dumps(resource)
        self.version = 3
        self.num_changes_by_others = 0
        self.written: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            version = self.version
            if self.num_changes_by_others:
                self.num_changes_by_others -= 1
                self.version += 1  # somebody changes it right after we looked
            return httpx.Response(200, text=self.text, headers={"etag": f'W/"{version}"'})
        if request.headers["if-match"] != f'W/"{self.version}"':
            return httpx.Response(412)
        self.written.append(request)
        return httpx.Response(200)


def _peer(answer: Callable[[httpx.Request], httpx.Response]) -> Any:
    return peer_at("http://ehr/fhir", httpx.MockTransport(answer))


def test_the_version_that_was_read_is_written_over_with_another_status() -> None:
    server = Server()
    assert take_back(_peer(server), "RiskAssessment/7", OURS)
    (request,) = server.written
    assert request.headers["if-match"] == 'W/"3"'
    assert json.loads(request.content) == {**ASSESSMENT, "status": "entered-in-error"}


def test_numbers_stay_as_the_ehr_wrote_them() -> None:
    text = json.dumps(ASSESSMENT).replace('"relativeRisk": 1.0', '"relativeRisk": 0.4000')
    server = Server(text)
    take_back(_peer(server), "RiskAssessment/7", OURS)
    assert b'"relativeRisk":0.4000' in server.written[0].content


def test_what_somebody_changed_meanwhile_is_read_again() -> None:
    server = Server()
    server.num_changes_by_others = 1
    assert take_back(_peer(server), "RiskAssessment/7", OURS)
    assert server.written[0].headers["if-match"] == 'W/"4"'


def test_what_keeps_changing_is_tried_again_later() -> None:
    server = Server()
    server.num_changes_by_others = 99
    gateway = gateway_to(httpx.MockTransport(server), takes_back=True)
    with pytest.raises(EhrUnavailableError):
        gateway.take_back(write_back(), "RiskAssessment/7")
    assert server.written == []


def test_a_resource_that_is_not_ours_is_left_alone() -> None:
    server = Server({**ASSESSMENT, "identifier": []})
    assert not take_back(_peer(server), "RiskAssessment/7", OURS)
    assert server.written == []


def test_what_is_marked_already_is_not_written_again() -> None:
    server = Server({**ASSESSMENT, "status": "entered-in-error"})
    assert take_back(_peer(server), "RiskAssessment/7", OURS)
    assert server.written == []


@pytest.mark.parametrize("status", [404, 410])
def test_what_the_ehr_does_not_hold_any_more_is_nothing_to_take_back(status: int) -> None:
    assert not take_back(_peer(lambda _: httpx.Response(status)), "RiskAssessment/7", OURS)


def test_a_site_that_did_not_ask_for_it_is_not_told() -> None:
    server = Server()
    told = gateway_to(httpx.MockTransport(server)).take_back(write_back(), "RiskAssessment/7")
    assert (told.resource_types, server.written) == ((), [])


@pytest.mark.integration
def test_a_real_server_holds_everything_as_entered_in_error_afterwards(tmp_path: Path) -> None:
    kinds = ("RiskAssessment", "Task", "Flag", "Communication")
    with sekmet(tmp_path) as url, closing(peer_at(url)) as peer:
        for kind, resource_id, more in (
            ("Patient", "p1", {}),
            ("Condition", "c1", {"subject": {"reference": "Patient/p1"}}),
        ):
            body = {"resourceType": kind, "id": resource_id, **more}
            httpx.put(f"{url}/{kind}/{resource_id}", json=body).raise_for_status()
        gateway = gateway_over(
            peer, match="_tag", resources=kinds, trusts_statement=False, takes_back=True
        )
        told = gateway.write_back(write_back())
        assert set(gateway.take_back(write_back(), told.ehr_id).resource_types) == set(kinds)
        for kind in kinds:
            (entry,) = httpx.get(f"{url}/{kind}").raise_for_status().json()["entry"]
            assert entry["resource"]["status"] == "entered-in-error"
            assert entry["resource"]["meta"]["versionId"] == "2"
