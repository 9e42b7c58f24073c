"""What was refused is in the audit log; a flood of it is a few entries, and nothing that was typed is in them."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.http.refusals import Refusals, tell_due
from clinical.audit.entry import AuditEntry, AuditKind
from clinical.errors import OperationalError
from clinical.services.access import Refusal, Refused
from tests.adapters.http.conftest import Stage
from tests.adapters.http.test_webhooks import deliver

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


class Seconds:
    """A clock that only runs, when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def refusal(**changes: Any) -> Refusal:
    said: dict[str, Any] = {
        "actor": "anna",
        "address": "10.0.0.1",
        "method": "GET",
        "route": "/v1/reviews/{review_id}",
        "status": 404,
        "why": "clinical.not_found",
    }
    return Refusal(**(said | changes))


def refused_in(stage: Stage) -> list[AuditEntry]:
    """What the log tells of refusals once everything was told."""
    app: Any = stage.app
    (surroundings,) = [each for each in app.user_middleware if "refusals" in each.kwargs]
    refusals: Refusals = surroundings.kwargs["refusals"]
    tell_due(refusals, stage.deps.access.note_refused, stage.clock.now, all_of_it=True)
    with stage.deps.open_unit_of_work() as uow:
        uow.audit_log.sequence(10_000, stage.clock.now())
        entries = [entry for _, entry, _ in uow.audit_log.sequenced()]
    return [each for each in entries if each.kind is AuditKind.REQUEST_REFUSED]


@pytest.mark.integration
def test_a_delivery_that_is_not_genuine_is_told_with_the_door_it_was_tried_at(stage: Stage) -> None:
    deliver(stage, **{"webhook-signature": "v1,AAAA", "X-Request-Id": "forged-1"})
    (entry,) = refused_in(stage)
    assert (entry.actor, entry.request_id) == ("site:north", "forged-1")
    assert entry.refs["why"] == "http.bad_signature"
    assert entry.refs["route"] == "/v1/fhir/{site}"
    assert (entry.refs["status"], entry.refs["count"]) == ("401", "1")
    assert entry.refs["from"] == "127.0.0.1"


@pytest.mark.integration
def test_who_asks_for_what_is_not_there_or_not_for_them_is_told_by_name(stage: Stage) -> None:
    stage.sign_in("anna")
    stage.get("/v1/reviews/00000000-0000-4000-8000-000000000000")
    stage.get("/v1/reviews/mrn-12345")
    stage.client.cookies.clear()
    stage.get("/v1/reviews")
    told = {(each.actor, each.refs["status"], each.refs["why"]) for each in refused_in(stage)}
    assert told == {
        ("anna", "404", "clinical.not_found"),
        ("anna", "422", "http.invalid_request"),
        ("anonymous", "401", "http.signed_out"),
    }


@pytest.mark.integration
def test_failed_sign_ins_are_told_without_the_name_or_the_password_that_was_typed(
    stage: Stage,
) -> None:
    for _ in range(3):
        stage.write("/v1/session", body={"name": "my-secret-password", "password": "x" * 12})
    told = refused_in(stage)
    assert {each.refs["why"] for each in told} == {"http.bad_credentials"}
    assert sum(int(each.refs["count"]) for each in told) == 3
    assert "my-secret-password" not in str(told)


@pytest.mark.integration
def test_a_flood_of_bad_requests_is_a_few_entries_that_count_all_of_it(stage: Stage) -> None:
    for number in range(200):
        stage.get(f"/v1/reviews/{number}")
    for number in range(200):
        stage.get(f"/nowhere/{number}")
    told = refused_in(stage)
    assert sum(int(each.refs["count"]) for each in told) == 400
    assert len(told) <= 8  # one for each in each of the seconds that this took
    assert not any("nowhere" in str(each) for each in told)


@pytest.mark.integration
def test_the_running_service_tells_by_itself(stage: Stage) -> None:
    stage.get("/v1/reviews")
    found: list[AuditEntry] = []
    for _ in range(100):
        with stage.deps.open_unit_of_work() as uow:
            found = uow.audit_log.history(why="http.signed_out")
        if found:
            break
        time.sleep(0.1)
    assert len(found) == 1


def test_the_first_of_a_kind_is_told_at_once_and_the_rest_of_its_minute_together() -> None:
    elapsed = Seconds()
    refusals = Refusals(elapsed)
    told: list[Refused] = []

    def tell() -> None:
        tell_due(refusals, lambda found, _: told.extend(found), lambda: NOW)

    refusals.note(refusal(), "r1")
    tell()
    for number in range(9):
        refusals.note(refusal(), f"r{number + 2}")
        elapsed.now += 1
        tell()
    assert [(each.count, each.request_id) for each in told] == [(1, "r1")]
    elapsed.now = 61.0
    tell()
    assert [(each.count, each.request_id) for each in told] == [(1, "r1"), (9, "r2")]
    assert told[1].since == NOW - timedelta(seconds=61)


def test_a_minute_costs_a_bounded_number_of_entries_whoever_asks() -> None:
    refusals = Refusals(Seconds())
    for number in range(5000):
        refusals.note(refusal(address=f"10.0.{number // 250}.{number % 250}"), "r")
    told = refusals.due(NOW)
    assert len(told) == 65
    assert sum(each.count for each in told) == 5000
    assert told[-1].refusal.route == "various"


def test_what_cannot_be_told_stays_counted() -> None:
    refusals = Refusals(Seconds())
    refusals.note(refusal(), "r1")

    def fail(found: Any, at: datetime) -> None:
        raise OperationalError("the database is away")

    tell_due(refusals, fail, lambda: NOW)
    refusals.note(refusal(), "r2")
    assert [(each.count, each.request_id) for each in refusals.due(NOW)] == [(2, "r1")]


def test_what_is_not_refused_any_more_is_forgotten() -> None:
    elapsed = Seconds()
    refusals = Refusals(elapsed)
    refusals.note(refusal(), "r1")
    tell_due(refusals, lambda *_: None, lambda: NOW)
    elapsed.now = 61.0
    assert refusals.due(NOW) == []
    assert refusals._counted == {}
