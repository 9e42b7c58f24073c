"""Our subscriptions at an EHR over HTTP: each form as it is written, and servers that do less than the standard."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapters.egress.breaker import CircuitBreaker
from adapters.egress.errors import ForeignAddressError, PeerRefusedError, UnreadableAnswerError
from adapters.egress.peer import Bounds, Peer
from adapters.fhir.client import UnknownEhrError
from adapters.fhir.source import FhirSource
from adapters.fhir.subscribing import FhirSubscriptions
from adapters.fhir.subscription import Reader
from adapters.fhir.subscription_forms import Channel, NoPublicUrlError, resource_of
from adapters.sites.secret import Secret
from adapters.sites.subscriptions import HubSignature, StaticHeader, Subscription
from clinical.services.ports import NoLongerHeldError, UnsupportedByEhrError
from clinical.subscription.notification import NotificationKind, RecordRef, Standing
from clinical.subscription.plan import SubscriptionPlan
from tests.fakes import SettableClock
from tests.notifications import BASE, bundle, parameters

ENDPOINT = "https://us.example/v1/fhir/north/subscriptions/labs"
PROOF = StaticHeader(values=(Secret("Bearer secret"),))
PLAN = SubscriptionPlan(site="north", name="labs")
NOON = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)

Answer = Callable[[httpx.Request], httpx.Response]


def peer(answer: Answer) -> Peer:
    clock = SettableClock()
    breaker = CircuitBreaker(clock, max_failures=100, pause=timedelta(seconds=1))
    return Peer(Bounds(base_url=BASE), clock, breaker, transport=httpx.MockTransport(answer))


def channel(answer: Answer, endpoint: str = ENDPOINT, **stated: Any) -> Channel:
    given = {"proof": PROOF, "topic": "http://north.example/topic", **stated}
    return Channel(
        peer=peer(answer),
        stated=Subscription(**given),
        plan=PLAN,
        endpoint=endpoint,
        reader=Reader([BASE]),
    )


def server(answer: Answer, **stated: Any) -> FhirSubscriptions:
    channels = {("north", "labs"): channel(answer, **stated)}
    return FhirSubscriptions(channels, SettableClock())


def nothing(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(404)


def test_the_backport_writes_the_topic_as_criteria_and_the_rest_as_extensions() -> None:
    written = resource_of(
        channel(nothing, filters=("Observation?category=laboratory",), heartbeat_seconds=30), None
    )
    prefix = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-"
    assert written == {
        "resourceType": "Subscription",
        "meta": {"profile": [f"{prefix}subscription"]},
        "status": "requested",
        "reason": "Clinical predictions for review",
        "criteria": "http://north.example/topic",
        "_criteria": {
            "extension": [
                {
                    "url": f"{prefix}filter-criteria",
                    "valueString": "Observation?category=laboratory",
                }
            ]
        },
        "channel": {
            "type": "rest-hook",
            "endpoint": ENDPOINT,
            "payload": "application/fhir+json",
            "header": ["Authorization: Bearer secret"],
            "_payload": {
                "extension": [{"url": f"{prefix}payload-content", "valueCode": "id-only"}]
            },
            "extension": [
                {"url": f"{prefix}heartbeat-period", "valueUnsignedInt": 30},
                {"url": f"{prefix}timeout", "valueUnsignedInt": 10},
            ],
        },
    }


def test_the_classic_form_writes_the_query_as_criteria_and_no_extension() -> None:
    written = resource_of(
        channel(nothing, form="classic", topic="Observation?code=x", content="empty"), NOON
    )
    assert written["criteria"] == "Observation?code=x"
    assert written["end"] == "2026-03-29T00:30:00.000Z"
    assert "payload" not in written["channel"]
    assert "meta" not in written


def test_r5_has_an_identifier_filters_and_parameters() -> None:
    written = resource_of(
        channel(nothing, form="r5", filters=("Observation?category=a&code=b",)), None
    )
    assert written["filterBy"] == [
        {"resourceType": "Observation", "filterParameter": "category", "value": "a"},
        {"resourceType": "Observation", "filterParameter": "code", "value": "b"},
    ]
    assert written["parameter"] == [{"name": "Authorization", "value": "Bearer secret"}]
    assert written["identifier"][0]["value"] == f"urn:uuid:{PLAN.subscription_id}"
    assert "channel" not in written


def test_athenahealth_is_given_no_header_for_it_signs() -> None:
    written = resource_of(channel(nothing, proof=HubSignature()), None)
    assert "header" not in written["channel"]


def test_without_a_public_address_nothing_is_written() -> None:
    with pytest.raises(NoPublicUrlError):
        resource_of(channel(nothing, endpoint=""), None)


class Server:
    """A server that holds subscriptions in a list, and searches badly: it returns everything."""

    def __init__(self, *held: dict[str, Any]) -> None:
        self.held = list(held)
        self.asked: list[tuple[str, str]] = []
        self.headers: list[httpx.Headers] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.url.path.removeprefix("/fhir/")))
        self.headers.append(request.headers)
        if request.method == "POST":
            made = {**json.loads(request.content), "id": f"s{len(self.held) + 1}"}
            self.held.append(made)
            where = f"{BASE}/Subscription/{made['id']}/_history/1"
            return httpx.Response(201, headers={"location": where})
        if request.method == "PUT":
            return httpx.Response(200, json={})
        if request.method == "DELETE":
            return httpx.Response(410)
        if request.url.path.endswith("/Subscription"):
            entries = [{"resource": each} for each in self.held]
            return httpx.Response(200, json={"resourceType": "Bundle", "entry": entries})
        found = [each for each in self.held if request.url.path.endswith(f"/{each['id']}")]
        return (
            httpx.Response(200, json=found[0], headers={"etag": 'W/"3"'})
            if found
            else nothing(request)
        )


def test_creating_twice_makes_one_and_updates_it() -> None:
    ehr = Server({"resourceType": "Subscription", "id": "other", "channel": {"endpoint": "x"}})
    subscriptions = server(ehr)
    first = subscriptions.create("north", "labs")
    again = subscriptions.create("north", "labs")
    assert (first.ehr_id, first.was_there) == ("s2", False)
    assert (again.ehr_id, again.was_there) == ("s2", True)
    assert len(ehr.held) == 2
    assert ehr.headers[1]["if-none-exist"].startswith("url=https%3A%2F%2Fus.example")
    assert ehr.headers[-1]["if-match"] == 'W/"3"'


def test_what_is_gone_is_removed_without_complaint() -> None:
    ehr = Server()
    server(ehr).remove("north", "labs", "s1")
    assert ehr.asked == [("DELETE", "Subscription/s1")]


def test_a_subscription_that_is_gone_cannot_be_renewed() -> None:
    with pytest.raises(NoLongerHeldError):
        server(Server()).renew("north", "labs", "s1")


def test_status_is_read_from_the_operation() -> None:
    status = parameters("query-status", total="5", status="off")
    answer = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": status}]}
    told = server(lambda _: httpx.Response(200, json=answer)).status("north", "labs", "s1")
    assert (told.kind, told.standing, told.total) == (NotificationKind.STATUS, Standing.OFF, 5)


@pytest.mark.parametrize("code", [404, 400, 405, 501])
def test_hapi_has_no_status_operation_so_the_subscription_itself_tells(code: int) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("$status"):
            return httpx.Response(code)
        return httpx.Response(200, json={"resourceType": "Subscription", "status": "error"})

    assert server(answer).status("north", "labs", "s1").standing is Standing.ERROR


@pytest.mark.parametrize("code", [404, 400, 501])
def test_sekmet_has_no_events_operation_and_says_so(code: int) -> None:
    with pytest.raises(UnsupportedByEhrError):
        server(lambda _: httpx.Response(code)).events("north", "labs", "s1", 1, 2)


def test_an_outcome_instead_of_events_is_no_events() -> None:
    outcome = {"resourceType": "OperationOutcome"}
    with pytest.raises(UnsupportedByEhrError):
        server(lambda _: httpx.Response(200, json=outcome)).events("north", "labs", "s1", 1, 2)


def test_events_are_asked_for_by_both_numbers_and_kept_as_they_come() -> None:
    asked: list[str] = []
    content = bundle(parameters("query-event", numbers=["1", "2"]))

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.query.decode())
        return httpx.Response(200, json=content)

    fetched = server(answer).events("north", "labs", "s1", 1, 2)
    assert asked == ["eventsSinceNumber=1&eventsUntilNumber=2&content=id-only"]
    assert json.loads(fetched.body) == content


def test_a_search_follows_its_pages_and_only_on_the_sites_own_host() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        page = dict(request.url.params).get("page", "1")
        url = {
            "1": f"{BASE}/Observation?page=2",
            "2": "https://elsewhere.example/fhir/Observation?page=3",
        }[page]
        link = [{"relation": "next", "url": url}]
        return httpx.Response(200, json={"resourceType": "Bundle", "link": link})

    pages = FhirSource({"north": peer(answer)}).search("north", "Observation?code=x", NOON)
    assert next(pages).asked == "Observation?code=x"
    assert next(pages)
    with pytest.raises(ForeignAddressError):
        next(pages)


def test_a_page_that_leads_to_itself_ends_the_search() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        link = [{"relation": "next", "url": str(request.url)}]
        return httpx.Response(200, json={"resourceType": "Bundle", "link": link})

    assert len(list(FhirSource({"north": peer(answer)}).search("north", "Observation", NOON))) == 2


def test_a_search_asks_for_what_changed_since_in_the_words_of_fhir() -> None:
    asked: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        date = {"date": "Sun, 29 Mar 2026 00:10:00 GMT"}
        return httpx.Response(200, json={"resourceType": "Bundle"}, headers=date)

    (page,) = FhirSource({"north": peer(answer)}).search("north", "Observation?code=x", NOON)
    assert asked == [{"code": "x", "_lastUpdated": "ge2026-03-29T00:30:00.000Z", "_count": "200"}]
    assert page.stated_at == datetime(2026, 3, 29, 0, 10, tzinfo=UTC)


@pytest.mark.parametrize(("code", "is_sure"), [(404, False), (410, True)])
def test_a_record_that_is_not_there_is_an_answer(code: int, is_sure: bool) -> None:
    source = FhirSource({"north": peer(lambda _: httpx.Response(code))})
    fetched = source.read("north", RecordRef("Observation", "o1"))
    assert (fetched.is_gone, fetched.is_surely_gone) == (True, is_sure)


def test_a_page_of_html_is_no_record() -> None:
    source = FhirSource({"north": peer(lambda _: httpx.Response(200, text="<html>sign in</html>"))})
    with pytest.raises(UnreadableAnswerError):
        source.read("north", RecordRef("Observation", "o1"))


def test_a_record_that_the_ehr_refuses_is_refused_by_name() -> None:
    source = FhirSource({"north": peer(lambda _: httpx.Response(403))})
    with pytest.raises(PeerRefusedError):
        source.read("north", RecordRef("Observation", "o1"))
    with pytest.raises(UnknownEhrError):
        source.read("south", RecordRef("Observation", "o1"))
