"""Nabla's doors: Connect's protocol to the letter, and Core's webhooks, of which nothing is lost."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from adapters.assembly.nabla import connect_verifiers, core_verifiers
from adapters.http.app import create_app
from adapters.nabla.core_events import parse_event
from adapters.sites.nabla import Nabla
from adapters.sites.secret import Secret
from adapters.sites.site import Site
from clinical.services.delivery import Door
from tests.adapters.http.conftest import NABLA_SECRET, Stage, StageClock, dependencies, served
from tests.adapters.http.stage import StagedModel
from tests.adapters.http.test_webhooks import CALLBACK, code_of, in_inbox
from tests.adapters.nabla.test_nabla_contract import core_event

pytestmark = pytest.mark.integration

CORE_SECRETS = ("the old secret of core", "the new secret of core")
SITES = {
    "north": Site(
        nabla_connect_secrets=(Secret(NABLA_SECRET), Secret("the next one")),
        nabla=Nabla(region="us", core_webhook_secrets=tuple(map(Secret, CORE_SECRETS))),
    ),
    "wide": Site(
        nabla_connect_secrets=(Secret(NABLA_SECRET),),
        nabla=Nabla(region="us", window_seconds=3600.0),
    ),
    "bearing": Site(
        nabla_connect_secrets=(Secret(NABLA_SECRET),),
        nabla=Nabla(region="us", accepted_bearers=(Secret("b-1"), Secret("b-2"))),
    ),
}


@pytest.fixture
def stage(engine: Engine) -> Iterator[Stage]:
    clock, model = StageClock(), StagedModel()
    deps = dependencies(
        engine,
        clock,
        model,
        nabla_verifiers=connect_verifiers(SITES, clock),
        nabla_core_verifiers=core_verifiers(SITES, clock),
        parse_core_event=parse_event,
    )
    app = create_app(deps)
    with served(app) as client:
        yield Stage(engine, deps, clock, model, app, client)


def post(
    stage: Stage,
    content: Any,
    *,
    site: str = "north",
    product: str = "connect",
    secret: str = NABLA_SECRET,
    age: timedelta = timedelta(0),
    **more: str,
) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    stamp = (stage.clock.now() - age).isoformat()
    made = hmac.new(secret.encode(), stamp.encode() + body, hashlib.sha256).hexdigest()
    prefix = "x-nabla-connect" if product == "connect" else "x-nabla-webhook"
    headers = {
        "content-type": "application/json",
        f"{prefix}-timestamp": stamp,
        f"{prefix}-signature": made,
    }
    url = f"/v1/nabla/{site}/{product}"
    return stage.client.post(url, content=body, headers={**headers, **more})


def core(stage: Stage, content: Any, **more: Any) -> httpx.Response:
    return post(stage, content, product="core", **{"secret": CORE_SECRETS[1], **more})


@pytest.mark.parametrize("type_", ["NOTE_EXPORT", "PATIENT_INSTRUCTIONS_EXPORT"])
def test_nabla_connect_gets_exactly_its_request_uuid_back(stage: Stage, type_: str) -> None:
    answer = post(stage, CALLBACK | {"type": type_})
    assert (answer.status_code, answer.json()) == (
        200,
        {"request_uuid": CALLBACK["request_uuid"]},
    )


def test_a_retry_of_nabla_connect_signed_afresh_gets_the_same_answer(stage: Stage) -> None:
    first = post(stage, CALLBACK)
    stage.clock.advance(timedelta(minutes=30))
    again = post(stage, CALLBACK, secret="the next one")
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert len(in_inbox(stage, Door.NABLA_CONNECT)) == 1


def test_other_bytes_under_a_used_request_uuid_are_kept_and_answered_alike(stage: Stage) -> None:
    """The protocol knows no conflict, and the clinician's screen waits for the 200."""
    respaced = json.dumps(CALLBACK, indent=1).encode()
    answers = [post(stage, each) for each in (CALLBACK, respaced, respaced, CALLBACK)]
    assert {(each.status_code, each.content) for each in answers} == {(200, answers[0].content)}
    held = in_inbox(stage, Door.NABLA_CONNECT)
    assert sorted(held) == sorted([json.dumps(CALLBACK).encode(), respaced])


def test_the_window_of_a_site_is_its_own_and_the_future_is_refused_too(stage: Stage) -> None:
    for age in (timedelta(minutes=59), timedelta(minutes=-59)):
        assert post(stage, CALLBACK, site="wide", age=age).status_code == 200
        assert post(stage, CALLBACK, age=age).status_code == 401
    for age in (timedelta(minutes=61), timedelta(minutes=-61)):
        assert post(stage, CALLBACK, site="wide", age=age).status_code == 401


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer b-2", 200),
        ("bearer b-1", 200),
        ("Bearer b-3", 401),
        ("Basic b-1", 401),
        ("b-1", 401),
        ("", 401),
    ],
)
def test_a_site_may_want_the_bearer_of_its_own_server_besides(
    stage: Stage, authorization: str, status: int
) -> None:
    answer = post(stage, CALLBACK, site="bearing", authorization=authorization)
    assert answer.status_code == status


def test_a_good_bearer_is_no_signature(stage: Stage) -> None:
    answer = post(stage, CALLBACK, site="bearing", secret="wrong", authorization="Bearer b-1")
    assert (answer.status_code, in_inbox(stage, Door.NABLA_CONNECT)) == (401, [])


def test_a_webhook_of_nabla_core_is_stored_and_owed_once_however_often_it_comes(
    stage: Stage,
) -> None:
    event = core_event()
    first, again = core(stage, event), core(stage, event, secret=CORE_SECRETS[0])
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert in_inbox(stage, Door.NABLA_CORE) == [json.dumps(event).encode()]
    with stage.deps.open_unit_of_work() as uow:
        assert uow.outbox.pending() == 1


@pytest.mark.parametrize(
    "content", [{"id": "1", "type": "brand_new.happened"}, {"hello": 1}, b"no JSON", b"[]"]
)
def test_what_nabla_core_sends_of_no_known_kind_is_kept_and_answered_200(
    stage: Stage, content: Any
) -> None:
    """Else Nabla would send it for a day, and then it would be lost."""
    assert core(stage, content).status_code == 200
    assert core(stage, content).status_code == 200
    assert len(in_inbox(stage, Door.NABLA_CORE)) == 1


def test_events_of_nabla_core_may_come_in_any_order(stage: Stage) -> None:
    failed = core_event(status="FAILED") | {"id": "2", "type": "transcribe_async.failed"}
    for event in (failed, core_event()):
        assert core(stage, event).status_code == 200
    assert len(in_inbox(stage, Door.NABLA_CORE)) == 2


@pytest.mark.parametrize(
    "forged",
    [
        {"secret": NABLA_SECRET},
        {"age": timedelta(seconds=61)},
        {"age": timedelta(seconds=-61)},
        {"x-nabla-webhook-signature": "00" * 32},
        {"x-nabla-webhook-signature": ""},
    ],
)
def test_forged_and_stale_webhooks_of_nabla_core_are_refused(stage: Stage, forged: Any) -> None:
    answer = core(stage, core_event(), **forged)
    assert (answer.status_code, code_of(answer)) == (401, "http.bad_signature")
    assert in_inbox(stage, Door.NABLA_CORE) == []


def test_a_site_without_secrets_of_nabla_core_has_no_such_door(stage: Stage) -> None:
    assert core(stage, core_event(), site="wide").status_code == 404
