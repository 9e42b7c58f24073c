"""The official cases: good requests are answered, bad ones refused by name; answers and listings are judged alike.

`cds_hooks_cases/README.md` says where they are from.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine

from adapters.http.app import create_app
from adapters.http.cds_schemas import Cards, Discovery
from tests.adapters.http.cds_stage import EhrClient, cds_site, with_cds
from tests.adapters.http.conftest import Stage, StageClock, dependencies, served
from tests.adapters.http.stage import StagedModel

pytestmark = pytest.mark.integration
CASES = Path(__file__).parent / "cds_hooks_cases"
SERVICES = {
    "patient-view": "forecast",
    "order-select": "forecast-with-orders",
    "order-sign": "forecast-with-orders",
}

GOOD_REQUESTS = (
    "cdshooks-request-patient-view-good.json",
    "cdshooks-request-pv-good.json",
    "cdshooks-request-order-select-good.json",
    "cdshooks-request-order-sign-good.json",
)
# Where each bad one is refused. A patientId with its type before it is no reason: real EHRs send it.
BAD_REQUESTS = {
    # Entries of a batch answer stand where resources should.
    "cdshooks-request-patient-view-bad.json": "prefetch.?",
    "cdshooks-request-order-sign-bad-2.json": "prefetch.?",
    # The selection does not say of which type it is.
    "cdshooks-request-order-select-bad.json": "context.selections.0",
    # The status of the draft is no status.
    "cdshooks-request-order-sign-bad-1.json": "context.draftOrders: entry[0]: status",
    # It tries extensions, and has no draft orders, which the hook requires.
    "cdshooks-request-order-select-extensions.json": "context.draftOrders",
}
GOOD_ANSWERS = (
    "cdshooks-response-good.json",
    "cdshooks-response-empty-good.json",
    "cdshooks-response-empty.json",
    "cdshooks-response-link.json",
    "cdshooks-response-no-link.json",
    "cdshooks-response-two-cards.json",
)
BAD_ANSWERS = {
    "cdshooks-response-empty-bad.json": {("cards",)},
    "cdshooks-response-empty2.json": {("cards",)},
    "cdshooks-response-empty-source.json": {("cards", 0, "source", "label")},
    # Both summaries have more than 140 characters; a link has no type, suggestions no behaviour.
    "cdshooks-response-source-link.json": {
        ("cards", 0, "summary"),
        ("cards", 0, "links", 0, "type"),
    },
    "cdshooks-response-suggestion.json": {("cards", 0, "summary")},
}
LISTINGS = ("cdshooks-services-good.json", "cdshooks-services-order-select-extensions.json")


@pytest.fixture
def ehr(engine: Engine) -> Iterator[EhrClient]:
    """An EHR whose FHIR server is the one that a case names."""
    clock, model = StageClock(), StagedModel()
    deps = dependencies(engine, clock, model)
    site = cds_site(engine, clock)
    servers = {
        "north": replace(site, fhir_server="http://localhost:8080/fhir"),
        "smart": replace(site, fhir_server="http://hooks.smarthealthit.org:9080"),
    }
    deps = replace(deps, cds=with_cds(deps, servers))
    app = create_app(deps)
    with served(app) as client:
        stage = Stage(engine=engine, deps=deps, clock=clock, model=model, app=app, client=client)
        for name in GOOD_REQUESTS:
            stage.add_patient(case(name)["context"]["patientId"])
        yield EhrClient(client, clock)


def case(name: str) -> Any:
    return json.loads((CASES / name).read_text())


def test_every_case_is_judged() -> None:
    judged = {*GOOD_REQUESTS, *BAD_REQUESTS, *GOOD_ANSWERS, *BAD_ANSWERS, *LISTINGS}
    assert judged == {path.name for path in CASES.glob("*.json")}
    assert len(judged) == 22


@pytest.mark.parametrize("name", GOOD_REQUESTS)
def test_a_good_request_gets_valid_cards(ehr: EhrClient, name: str) -> None:
    request = case(name)
    ehr.site = "smart" if "smart" in request["fhirServer"] else "north"
    # The Patient is brought under another key than ours, so only who is known already gets a card.
    is_known = ehr.site == "north"
    answer = ehr.post(SERVICES[request["hook"]], request)
    assert answer.status_code == (200 if is_known else 412), answer.text
    if is_known:
        [card] = Cards.model_validate(answer.json()).cards
        assert card.uuid is not None


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_is_refused_by_the_name_of_what_is_wrong(ehr: EhrClient, name: str) -> None:
    request = case(name)
    answer = ehr.post(SERVICES[request["hook"]], request)
    assert answer.status_code == 400, answer.text
    assert answer.json()["type"].endswith("cds.invalid_call")
    assert answer.json()["detail"].startswith(BAD_REQUESTS[name])


@pytest.mark.parametrize("name", GOOD_ANSWERS)
def test_a_good_answer_passes_and_comes_out_as_it_went_in(name: str) -> None:
    told = case(name)
    assert Cards.model_validate(told).wire() == told


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_bad_answer_is_refused_at_its_fault(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Cards.model_validate(case(name))
    places = {error["loc"] for error in caught.value.errors()}
    assert places >= BAD_ANSWERS[name]


def test_suggestions_without_a_behaviour_are_refused() -> None:
    told = case("cdshooks-response-suggestion.json")
    told["cards"][0]["summary"] = "Short"
    with pytest.raises(ValidationError, match="selectionBehavior: required with suggestions"):
        Cards.model_validate(told)


@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_passes_and_comes_out_as_it_went_in(name: str) -> None:
    told = case(name)
    assert Discovery.model_validate(told).wire() == told


@pytest.mark.parametrize(
    "change",
    [{"detail": None}, {"detail": ""}, {"links": []}, {"uuid": "7"}, {"surprise": 1}],
)
def test_a_card_says_nothing_empty_and_nothing_unknown(change: dict[str, Any]) -> None:
    card = {"summary": "s", "indicator": "info", "source": {"label": "l"}, **change}
    with pytest.raises(ValidationError):
        Cards.model_validate({"cards": [card]})
