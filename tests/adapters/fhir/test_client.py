"""Telling an EHR once: against a real FHIR server, and against every way in which one can fail."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from adapters.fhir.client import EhrRefusedError, FhirGateway, UnknownEhrError
from adapters.fhir.outbound import CannotStoreError
from adapters.fhir.telling import OutcomeUnknownError
from clinical.prediction.prediction import Prediction
from clinical.services.ports import EhrUnavailableError
from tests.adapters.fhir.ehrs import gateway_over, gateway_to, peer_at
from tests.adapters.fhir.test_outbound import write_back
from tests.sekmet import sekmet

Answer = Callable[[httpx.Request], httpx.Response]
NONE_FOUND = httpx.Response(200, json={"resourceType": "Bundle", "type": "searchset"})


@pytest.fixture(scope="module")
def ehr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a running sekmet-fhir, an R4 server that we did not write, with one patient."""
    with sekmet(tmp_path_factory.mktemp("ehr")) as url:
        patient = {"resourceType": "Patient", "id": "p1"}
        httpx.put(f"{url}/Patient/p1", json=patient).raise_for_status()
        condition = {
            "resourceType": "Condition",
            "id": "c1",
            "subject": {"reference": "Patient/p1"},
        }
        httpx.put(f"{url}/Condition/c1", json=condition).raise_for_status()
        yield url


def _total(url: str, kind: str) -> int:
    answer = httpx.get(f"{url}/{kind}", params={"_summary": "count"}).raise_for_status()
    return int(answer.json()["total"])


@pytest.mark.integration
@pytest.mark.parametrize("style", ["transaction", "single"])
def test_a_real_server_stores_everything_once_however_often_it_is_told(
    ehr: str, style: str
) -> None:
    """This one cannot search a RiskAssessment by identifier, and ignores such a search."""
    kinds = ("RiskAssessment", "Task", "Flag", "Communication")
    told = write_back(prediction=_prediction(style))
    before = {kind: _total(ehr, kind) for kind in (*kinds, "Provenance")}
    with closing(peer_at(f"{ehr}/")) as peer:
        gateway = gateway_over(
            peer, match="_tag", style=style, resources=kinds, trusts_statement=False
        )
        first = gateway.write_back(told)
        assert gateway.write_back(told) == first
    stored = httpx.get(f"{ehr}/{first.ehr_id}").raise_for_status().json()
    assert stored["prediction"][0]["probabilityRange"]["low"]["unit"] == "%"
    performer = stored["performer"]["reference"]
    assert httpx.get(f"{ehr}/{performer}").raise_for_status().json()["resourceType"] == "Device"
    for kind, number in before.items():
        assert _total(ehr, kind) == number + 1
    assert _total(ehr, "Device") == 1


def _prediction(style: str) -> Prediction:
    held = write_back().prediction
    changed = UUID(int=5 if style == "transaction" else 50)
    return replace(held, request=replace(held.request, prediction_id=changed))


def gateway(answer: Answer, **choices: Any) -> FhirGateway:
    def with_metadata(request: httpx.Request) -> httpx.Response:
        is_about_itself = request.url.path.endswith("/metadata")
        return httpx.Response(404) if is_about_itself else answer(request)

    return gateway_to(httpx.MockTransport(with_metadata), **choices)


def offering(answer: Answer, statement: dict[str, Any], **choices: Any) -> FhirGateway:
    """A gateway to a server that says of itself what it can."""

    def with_metadata(request: httpx.Request) -> httpx.Response:
        is_about_itself = request.url.path.endswith("/metadata")
        return httpx.Response(200, json=statement) if is_about_itself else answer(request)

    return gateway_to(httpx.MockTransport(with_metadata), **choices)


def statement(*kinds: str, conditional: bool = False) -> dict[str, Any]:
    resource = [
        {"type": kind, "interaction": [{"code": "create"}], "conditionalCreate": conditional}
        for kind in kinds
    ]
    server = {"mode": "server", "resource": resource, "interaction": [{"code": "batch"}]}
    return {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [server]}


def test_a_site_without_an_ehr_is_a_named_error() -> None:
    with pytest.raises(UnknownEhrError):
        FhirGateway({}).write_back(write_back())


def test_nothing_is_sent_to_a_site_that_did_not_turn_it_on() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200)

    with pytest.raises(UnknownEhrError):
        gateway(answer, is_on=False).write_back(write_back())
    assert asked == []


def test_what_the_ehr_does_not_take_is_left_out_and_named() -> None:
    created: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return NONE_FOUND
        created.append(json.loads(request.content))
        place = f"{created[-1]['resourceType']}/{len(created)}"
        return httpx.Response(201, headers={"location": f"http://ehr/fhir/{place}/_history/1"})

    told = offering(
        answer,
        statement("Task", "Communication"),
        resources=("RiskAssessment", "Task", "Communication"),
    ).write_back(write_back())
    assert told.ehr_id == "Task/1"
    assert [each["resourceType"] for each in created] == ["Task", "Communication"]
    assert told.left_out == ("Provenance", "RiskAssessment")
    assert created[0]["requester"] == {"type": "Device", "display": "small 1"}


def test_an_ehr_that_takes_nothing_of_it_is_a_named_error() -> None:
    with pytest.raises(CannotStoreError):
        offering(lambda _: NONE_FOUND, statement("Observation")).write_back(write_back())


def test_told_one_by_one_later_resources_name_where_earlier_ones_are() -> None:
    created: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return NONE_FOUND
        created.append(request)
        kind = request.url.path.rpartition("/")[2]
        return httpx.Response(201, headers={"location": f"{kind}/n{len(created)}"})

    told = offering(answer, statement("Device", "RiskAssessment", "Provenance", conditional=True))
    assert told.write_back(write_back()).ehr_id == "RiskAssessment/n2"
    device, assessment, provenance = (json.loads(each.content) for each in created)
    assert assessment["performer"] == {"reference": "Device/n1"}
    assert provenance["target"] == [{"reference": "RiskAssessment/n2"}]
    assert all("urn:uuid:" in each.headers["if-none-exist"] for each in created)
    assert device["resourceType"] == "Device"


def test_an_unknown_outcome_that_cannot_be_asked_about_is_left_to_people() -> None:
    """Sending it again might store it twice: this server knows no conditional create and no search."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(501)
        raise httpx.ReadTimeout("lost")

    offered = statement("RiskAssessment")
    with pytest.raises(OutcomeUnknownError):
        offering(answer, offered, has_provenance=False).write_back(write_back())


def test_where_nothing_was_sent_it_is_simply_sent_again() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(501)
        raise httpx.ConnectError("refused")

    with pytest.raises(EhrUnavailableError):
        offering(answer, statement("RiskAssessment"), has_provenance=False).write_back(write_back())


def test_an_ehr_that_wants_to_be_left_alone_for_a_week_is_asked_again_within_the_hour() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"retry-after": "604800"})

    with pytest.raises(EhrUnavailableError) as raised:
        gateway(answer).write_back(write_back())
    assert raised.value.retry_after == timedelta(hours=1)


def test_a_page_of_html_is_no_answer() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text="<html>sign in</html>")

    with pytest.raises(EhrUnavailableError):
        gateway(answer).write_back(write_back())


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_answer_that_may_pass_is_to_be_retried(status: int) -> None:
    with pytest.raises(EhrUnavailableError):
        gateway(lambda _: httpx.Response(status)).write_back(write_back())


@pytest.mark.parametrize("error", [httpx.ConnectError("x"), httpx.ReadTimeout("x")])
def test_no_answer_is_to_be_retried(error: Exception) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(EhrUnavailableError):
        gateway(answer).write_back(write_back())


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 412, 422])
def test_a_refusal_is_not_retried(status: int) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return NONE_FOUND if request.method == "GET" else httpx.Response(status)

    with pytest.raises(EhrRefusedError):
        gateway(answer).write_back(write_back())


def test_an_unknown_outcome_is_looked_up_before_anything_is_sent_again() -> None:
    """The first answer is lost on the way; the second call finds what the first one stored."""
    stored: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            stored.append(request.content)
            raise httpx.ReadTimeout("lost")
        theirs = {"resourceType": "RiskAssessment", "id": "6", "identifier": [{"value": "other"}]}
        found = [{"resource": theirs}]
        for bundle in map(json.loads, stored):
            found += [{"resource": each["resource"] | {"id": "7"}} for each in bundle["entry"][1:]]
        return httpx.Response(200, json={"resourceType": "Bundle", "entry": found})

    told = gateway(answer)
    with pytest.raises(EhrUnavailableError):
        told.write_back(write_back())
    assert told.write_back(write_back()).ehr_id == "RiskAssessment/7"
    assert len(stored) == 1


def test_a_server_that_cannot_be_searched_is_told_by_the_conditional_create() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(501)
        location = "http://ehr/fhir/RiskAssessment/7/_history/1"
        entry = [{"response": {"status": "201 Created", "location": location}}]
        return httpx.Response(200, json={"resourceType": "Bundle", "entry": entry})

    assert gateway(answer).write_back(write_back()).ehr_id == "RiskAssessment/7"


def test_no_patient_is_named_in_a_url() -> None:
    urls = []

    def answer(request: httpx.Request) -> httpx.Response:
        urls.append(str(request.url))
        return httpx.Response(503)

    with pytest.raises(EhrUnavailableError):
        gateway(answer).write_back(write_back())
    assert all("p1" not in url and "Patient" not in url for url in urls)
