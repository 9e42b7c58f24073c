"""Telling an EHR once: against a real FHIR server, and against every way in which one can fail."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from adapters.fhir.client import EhrRefusedError, FhirGateway, UnknownEhrError
from adapters.fhir.outbound import Match
from clinical.services.ports import EhrUnavailableError
from tests.adapters.fhir.test_outbound import write_back

Answer = Callable[[httpx.Request], httpx.Response]
NONE_FOUND = httpx.Response(200, json={"resourceType": "Bundle", "type": "searchset"})


@pytest.fixture(scope="module")
def ehr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a running sekmet-fhir, an R4 server that we did not write, with one patient."""
    folder = tmp_path_factory.mktemp("ehr")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/fhir"
    (folder / "settings.yaml").write_text(
        f"base_url: {url}\nhost: 127.0.0.1\nport: {port}\nsimulator: {{enabled: false}}\n"
    )
    command = [str(Path(sys.executable).with_name("sekmet")), "serve", "-c", "settings.yaml"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=_environment())
    try:
        _await(f"{url}/metadata", server)
        patient = {"resourceType": "Patient", "id": "p1"}
        httpx.put(f"{url}/Patient/p1", json=patient).raise_for_status()
        condition = {
            "resourceType": "Condition",
            "id": "c1",
            "subject": {"reference": "Patient/p1"},
        }
        httpx.put(f"{url}/Condition/c1", json=condition).raise_for_status()
        yield url
    finally:
        server.terminate()
        server.wait(timeout=10)


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # noqa: TID251


def _await(url: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        assert server.poll() is None
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the server did not come up")


def _total(url: str, kind: str) -> int:
    answer = httpx.get(f"{url}/{kind}", params={"_summary": "count"}).raise_for_status()
    return int(answer.json()["total"])


@pytest.mark.integration
def test_a_real_server_stores_the_assessment_once_however_often_it_is_told(ehr: str) -> None:
    """This one cannot search a RiskAssessment by identifier, and ignores such a search."""
    gateway = FhirGateway({"north": f"{ehr}/"}, match=Match.TAG)
    first = gateway.write_back(write_back())
    assert gateway.write_back(write_back()) == first
    stored = httpx.get(f"{ehr}/{first}").raise_for_status().json()
    assert stored["prediction"][0]["probabilityRange"]["low"]["unit"] == "%"
    performer = stored["performer"]["reference"]
    assert httpx.get(f"{ehr}/{performer}").raise_for_status().json()["resourceType"] == "Device"
    for kind in ("RiskAssessment", "Device", "Provenance"):
        assert _total(ehr, kind) == 1


def gateway(answer: Answer) -> FhirGateway:
    return FhirGateway({"north": "http://ehr/fhir"}, transport=httpx.MockTransport(answer))


def test_a_site_without_an_ehr_is_a_named_error() -> None:
    with pytest.raises(UnknownEhrError):
        FhirGateway({}).write_back(write_back())


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
    assert told.write_back(write_back()) == "RiskAssessment/7"
    assert len(stored) == 1


def test_a_server_that_cannot_be_searched_is_told_by_the_conditional_create() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(501)
        location = "http://ehr/fhir/RiskAssessment/7/_history/1"
        entry = [{"response": {"status": "201 Created", "location": location}}]
        return httpx.Response(200, json={"resourceType": "Bundle", "entry": entry})

    assert gateway(answer).write_back(write_back()) == "RiskAssessment/7"


def test_no_patient_is_named_in_a_url() -> None:
    urls = []

    def answer(request: httpx.Request) -> httpx.Response:
        urls.append(str(request.url))
        return httpx.Response(503)

    with pytest.raises(EhrUnavailableError):
        gateway(answer).write_back(write_back())
    assert all("p1" not in url and "Patient" not in url for url in urls)
