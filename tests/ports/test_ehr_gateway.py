"""Port EhrGateway: told once however often it is called, and never silent about being away."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import httpx
import pytest

from clinical.prediction.prediction import Prediction
from clinical.prediction.request import PredictionRequest
from clinical.review.decision import Decision, Verdict
from clinical.review.writeback import WriteBack
from clinical.services.ports import EhrGateway, EhrUnavailableError
from clinical.timeline.timeline import Timeline
from tests.adapters.fhir.ehrs import gateway_to
from tests.clinical.builders import PATIENT, event
from tests.fakes import NOON, FakeEhr, FakeModelServer


def _write_back(number: int = 1) -> WriteBack:
    request = PredictionRequest(
        prediction_id=UUID(int=number), patient_id=PATIENT, as_of=NOON, received_by=NOON
    )
    forecast = FakeModelServer().forecast(request, Timeline.of(PATIENT, [event()]))
    decision = Decision(
        decision_id=UUID(int=100 + number),
        review_id=UUID(int=200 + number),
        verdict=Verdict.AGREE,
        reasons=(),
        note="",
        decided_by="dr-a",
        decided_at=NOON,
        prediction_digest=forecast.output_digest,
    )
    prediction = Prediction(request=request, forecast=forecast, made_at=NOON)
    return WriteBack(
        site="north", patient_reference="Patient/ada", prediction=prediction, decision=decision
    )


class FhirServer:
    """Enough of a FHIR server for conditional creates in a transaction, and search by identifier."""

    def __init__(self) -> None:
        self.is_away = False
        self.stored: dict[str, dict[str, Any]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.is_away:
            return httpx.Response(503)
        if request.method == "GET":
            if "identifier" not in request.url.params:
                return httpx.Response(200, json={"resourceType": "CapabilityStatement"})
            wanted = request.url.params["identifier"].split("|")[1]
            found = [r for r in self.stored.values() if _identifier(r) == wanted]
            return httpx.Response(200, json={"entry": [{"resource": r} for r in found]})
        places = [self._place(e["resource"]) for e in json.loads(request.content)["entry"]]
        entries = [{"response": {"status": "201", "location": place}} for place in places]
        return httpx.Response(200, json={"resourceType": "Bundle", "entry": entries})

    def _place(self, resource: dict[str, Any]) -> str:
        for place, held in self.stored.items():
            if held["resourceType"] == resource["resourceType"] and (
                _identifier(held) == _identifier(resource)
            ):
                return place
        place = f"{resource['resourceType']}/{len(self.stored)}"
        self.stored[place] = {**resource, "id": str(len(self.stored))}
        return place


def _identifier(resource: dict[str, Any]) -> str:
    identifiers = resource.get("identifier") or [{}]
    return str(identifiers[0].get("value"))


class Switch(Protocol):
    """What can be away."""

    is_away: bool


@dataclass(frozen=True, slots=True)
class Edge:
    gateway: EhrGateway
    switch: Switch


@pytest.fixture(params=["fake", "fhir"])
def edge(request: pytest.FixtureRequest) -> Iterator[Edge]:
    if request.param == "fake":
        fake = FakeEhr()
        yield Edge(fake, fake)
    else:
        server = FhirServer()
        yield Edge(gateway_to(httpx.MockTransport(server)), server)


def test_telling_twice_stores_once_and_answers_the_same(edge: Edge) -> None:
    first = edge.gateway.write_back(_write_back())
    assert first.ehr_id.startswith("RiskAssessment/")
    assert edge.gateway.write_back(_write_back()) == first


def test_another_decision_is_another_assessment(edge: Edge) -> None:
    assert (
        edge.gateway.write_back(_write_back(1)).ehr_id
        != edge.gateway.write_back(_write_back(2)).ehr_id
    )


def test_an_ehr_that_is_away_says_so_and_can_be_told_later(edge: Edge) -> None:
    edge.switch.is_away = True
    with pytest.raises(EhrUnavailableError):
        edge.gateway.write_back(_write_back())
    edge.switch.is_away = False
    assert edge.gateway.write_back(_write_back()).ehr_id.startswith("RiskAssessment/")
