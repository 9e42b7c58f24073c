"""Bad bytes at the door: signed, so taken in as they are, and understood later without harm."""

import base64
import hmac
import json
from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import Engine

from adapters.fhir.reader import StrictReader
from adapters.fhir.ways import SiteWays
from adapters.http.app import create_app
from adapters.http.dependencies import Limits
from clinical.audit.entry import Act
from clinical.services.delivery import Door
from clinical.services.intake import Intake, Recorded
from clinical.timeline.patient import PatientRef
from tests.adapters.fhir.records import bundle, observation
from tests.adapters.http.conftest import WEBHOOK_SECRET, Stage, StageClock, dependencies, served
from tests.adapters.http.stage import StagedModel
from tests.adapters.http.test_signatures import headers_for
from tests.adapters.http.test_webhooks import code_of, deliver, held, owed

pytestmark = pytest.mark.integration

GOOD = json.dumps(observation()).encode()
LIMIT = 10 * 1024 * 1024
EHR = "https://ehr.example/fhir"


@pytest.fixture
def door(engine: Engine) -> Iterator[Stage]:
    """A door with the limit that is the default, where `north` has a registered FHIR server."""
    clock, model = StageClock(), StagedModel()
    deps = dependencies(engine, clock, model, limits=Limits(max_webhook_bytes=LIMIT))
    app = create_app(deps)
    with served(app) as client:
        yield Stage(engine=engine, deps=deps, clock=clock, model=model, app=app, client=client)


def understood(door: Stage, body: bytes) -> Recorded:
    """What a worker makes of a body after the door took it."""
    answer = deliver(door, body)
    assert answer.status_code == 202
    delivery_id = UUID(answer.json()["delivery_id"])
    assert held(door, str(delivery_id)).body == body
    intake = Intake(
        open_unit_of_work=door.deps.open_unit_of_work,
        clock=door.clock,
        identities=door.deps.identities,
        readers={Door.FHIR: StrictReader({"north": SiteWays(bases=(EHR,))})},
    )
    return intake.record(delivery_id, Act(actor="worker", at=door.clock.now()))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (GOOD[:-20], "fhir.not_json"),
        (GOOD.replace(b'"final"', b"NaN"), "fhir.not_json"),
        (b"[" * 100_000 + b"]" * 100_000, "fhir.too_deep"),
        (GOOD.replace(b'"final"', b'"final\\u0000"'), "fhir.code_not_allowed"),
        (
            GOOD.replace(b'"id"', b'"valueQuantity":{"value":1e400},"id"'),
            "fhir.number_out_of_range",
        ),
        (
            GOOD.replace(b"Patient/p1", b"https://elsewhere.example/fhir/Patient/p1"),
            "fhir.foreign_reference",
        ),
    ],
    ids=["truncated", "NaN", "deep", "NUL", "1e400", "another host"],
)
def test_bad_bytes_are_kept_and_set_aside_with_their_reason(
    door: Stage, body: bytes, reason: str
) -> None:
    recorded = understood(door, body)
    assert recorded.num_new_events == 0
    assert [each.reason_code for each in recorded.reading.quarantined] == [reason]


def test_bytes_in_another_encoding_are_refused_even_with_the_right_secret(door: Stage) -> None:
    """Standard Webhooks signs text, and the kept library takes UTF-8 alone for text."""
    body = GOOD.decode().encode("utf-16")
    headers = headers_for(b"", secret=WEBHOOK_SECRET)
    stamp = headers["webhook-timestamp"]
    signed = f"w1.{stamp}.".encode() + body
    key = base64.b64decode(WEBHOOK_SECRET.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    headers |= {
        "webhook-signature": f"v1,{signature}",
        "content-type": "application/fhir+json",
    }
    answer = door.client.post("/v1/fhir/north", content=body, headers=headers)
    assert (answer.status_code, code_of(answer)) == (401, "http.bad_signature")
    assert owed(door) == 0


def test_a_byte_order_mark_and_a_key_twice_do_no_harm(door: Stage) -> None:
    body = b"\xef\xbb\xbf" + GOOD.replace(b'"final"', b'"final","status":"amended"')
    assert understood(door, body).num_new_events == 1


def test_a_bundle_of_10_000_entries_is_taken_in_and_understood_entry_by_entry(
    door: Stage,
) -> None:
    """Three megabytes, a hundred of the entries broken, in one delivery of one transaction."""
    entries = [
        observation(id=f"o{n}", status="nonsense" if n % 100 == 0 else "final")
        for n in range(10_000)
    ]
    body = bundle(*entries)
    assert len(body) < LIMIT
    recorded = understood(door, body)
    assert recorded.num_new_events == 9_900
    assert len(recorded.reading.quarantined) == 100
    with door.deps.open_unit_of_work() as uow:
        assert len(uow.timelines.of(PatientRef("north", "p1").patient_id)) == 9_900


def test_a_bundle_beyond_the_limit_is_refused_and_nothing_of_it_is_stored(door: Stage) -> None:
    body = bundle(*(observation(id=f"o{n}") for n in range(40_000)))
    assert len(body) > LIMIT
    answer = deliver(door, body)
    assert (answer.status_code, code_of(answer)) == (413, "http.too_large")
    assert owed(door) == 0
