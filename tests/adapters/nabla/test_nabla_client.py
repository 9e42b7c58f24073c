"""Our clients of Nabla over real HTTP, against a server that checks what the documentation says."""

import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import jwt
import pytest

from adapters import telemetry
from adapters.assembly import nabla as assembled
from adapters.egress.errors import PeerUnavailableError
from adapters.egress.keys import KeyRing
from adapters.nabla import connect
from adapters.nabla.core_client import CoreClient
from adapters.nabla.errors import (
    ConflictingUserError,
    FailedJobError,
    MalformedAnswerError,
    NablaRefusedError,
    NothingToNormalizeError,
    RateLimitedError,
    SunsetVersionError,
    UnknownEntityError,
    UnsuitableRequestError,
)
from adapters.nabla.requests import Encounter, User
from adapters.sites.nabla import Connect, Core, Nabla
from adapters.sites.site import Site
from tests.adapters.nabla.server import CLIENT_ID, NablaServer, Reply, nabla_server, refusal
from tests.adapters.nabla.test_nabla_readers import callback
from tests.fakes import SettableClock

SYNC = "/generate-normalized-data"
ASYNC = "/generate-normalized-data-async"
EMPTY = {"conditions": [], "family_history": [], "observations": []}
ENCOUNTER = Encounter(
    provider_email="dr@example.org",
    external_provider_id="dr",
    external_patient_id="p1",
    external_encounter_id="e1",
    name="Ada Example",
    birth_date="1950-01-02",
    gender="FEMALE",
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    ring = KeyRing(tmp_path_factory.mktemp("keys"), SettableClock())
    ring.ensure("RS256")
    return ring


@pytest.fixture
def server(keys: KeyRing, frozen_clock: SettableClock) -> Iterator[NablaServer]:
    with nabla_server({"keys": keys.public()}, frozen_clock.now) as running:
        yield running


@pytest.fixture
def core(
    server: NablaServer, keys: KeyRing, frozen_clock: SettableClock
) -> Callable[..., CoreClient]:
    def make(**changes: Any) -> CoreClient:
        stated = {
            "client_id": CLIENT_ID,
            "base_url": f"{server.url}/v1/core/server",
            "allows_plain_http": True,
            "locale": "FRENCH_FR",
            "template": "GENERAL",
        }
        return assembled.core_client("north", "eu", Core(**(stated | changes)), keys, frozen_clock)

    return make


@pytest.fixture
def connected(
    server: NablaServer, keys: KeyRing, frozen_clock: SettableClock
) -> Callable[..., Any]:
    def make(version: str = "2026-03-23") -> Any:
        stated = Connect(
            client_id=CLIENT_ID,
            api_version=version,
            base_url=f"{server.url}/v1/connect/server",
            allows_plain_http=True,
        )
        known = {"north": Site(nabla=Nabla(region="eu", connect=stated))}
        return assembled.connect_client("north", known, keys, frozen_clock)

    return make


def exported(**changes: Any) -> connect.NoteExport:
    body = json.dumps(callback(**changes)).encode()
    return connect.note_export(connect.parse_callback(body))


def asked_of(server: NablaServer, ending: str = SYNC) -> Any:
    return server.asked_for(ending)[-1].content


def test_one_token_serves_many_calls_until_shortly_before_it_ends(
    server: NablaServer, core: Callable[..., CoreClient], frozen_clock: SettableClock
) -> None:
    server.answers[SYNC] = lambda _: Reply(200, EMPTY)
    client = core()
    for _ in range(3):
        client.ask(exported())
    assert (server.num_tokens, server.refused_because) == (1, "")
    frozen_clock.advance(timedelta(seconds=3500))  # not over yet
    client.ask(exported())
    assert server.num_tokens == 1
    frozen_clock.advance(timedelta(seconds=50))
    client.ask(exported())
    assert server.num_tokens == 2


def test_a_token_that_nabla_revoked_is_asked_for_anew_once(
    server: NablaServer, core: Callable[..., CoreClient]
) -> None:
    server.answers[SYNC] = lambda _: Reply(200, EMPTY)
    server.revoked.add("token-1")
    core().ask(exported())
    assert server.num_tokens == 2


def test_core_and_connect_have_tokens_of_their_own(
    server: NablaServer, core: Callable[..., CoreClient], connected: Callable[..., Any]
) -> None:
    server.answers[SYNC] = lambda _: Reply(200, EMPTY)
    server.answers["/encounters"] = lambda _: Reply(200, {"encounter_url": "https://x/1"})
    core().ask(exported())
    connected().open_encounter(ENCOUNTER)
    paths = [each.path for each in server.asked_for("/oauth/token")]
    assert paths == ["/v1/core/server/oauth/token", "/v1/connect/server/oauth/token"]


def test_the_version_is_in_a_header_of_every_call(
    server: NablaServer, core: Callable[..., CoreClient]
) -> None:
    server.answers[SYNC] = lambda _: Reply(200, EMPTY)
    core(api_version="2025-11-14").ask(exported())
    assert server.asked_for(SYNC)[0].headers["x-nabla-api-version"] == "2025-11-14"


DIAGNOSIS = {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "R51.9", "display": "Headache"}
SECTIONS = [
    {"key": "CHIEF_COMPLAINT", "title": title, "text": "SECRET words"}
    for title in ("Complaint", "More")
]
OLD = {"note": {"sections": SECTIONS}, "note_locale": "FRENCH_FR", "note_template": "GENERAL"}
NEW = {"note": {"sections": SECTIONS, "locale": "FRENCH_FR", "template": "GENERAL"}}
NEWEST = {"note": {"sections": SECTIONS, "locale": "FRENCH_FR", "template_key": "GENERAL"}}
PROBLEMS = {"include_corresponding_note_problems": False}


@pytest.mark.parametrize(
    ("version", "request_"),
    [
        ("2024-10-01", OLD),
        ("2025-05-05", OLD | PROBLEMS),
        ("2025-05-21", OLD | PROBLEMS),
        ("2025-08-05", OLD | PROBLEMS | {"active_encounter_diagnoses_coding": [DIAGNOSIS]}),
        ("2025-11-14", OLD | PROBLEMS | {"encounter_diagnoses_coding": [DIAGNOSIS]}),
        ("2026-02-20", NEW | PROBLEMS | {"encounter_diagnoses_coding": [DIAGNOSIS]}),
        ("2026-04-24", NEW | PROBLEMS | {"encounter_diagnoses_coding": [DIAGNOSIS]}),
        ("2026-07-01", NEWEST | PROBLEMS | {"encounter_diagnoses_coding": [DIAGNOSIS]}),
    ],
)
def test_nabla_core_is_asked_in_the_shape_of_the_pinned_version(
    server: NablaServer, core: Callable[..., CoreClient], version: str, request_: Any
) -> None:
    server.answers[SYNC] = lambda _: Reply(200, EMPTY)
    answered = core(api_version=version).ask(exported())
    assert json.loads(answered.response or b"") == EMPTY
    assert asked_of(server) == request_


def test_a_version_older_than_any_that_is_known_is_not_asked(
    core: Callable[..., CoreClient], server: NablaServer
) -> None:
    with pytest.raises(UnsuitableRequestError):
        core(api_version="2024-04-22").ask(exported())
    assert server.asked == []


def test_categories_of_connect_go_under_the_keys_of_core_and_others_only_where_the_site_says(
    server: NablaServer, core: Callable[..., CoreClient]
) -> None:
    server.answers[SYNC] = lambda _: Reply(200, EMPTY)
    sections = [
        {"title": str(n), "content": "text", "category": category}
        for n, category in enumerate(
            ["PAST_HISTORY", "EXAMINATION", "PRESCRIPTIONS", "RESULTS", None, "BRAND_NEW"]
        )
    ]
    note = {"sections": sections}
    core().ask(exported(note=note))
    sent = [each["key"] for each in asked_of(server)["note"]["sections"]]
    assert sent == ["PAST_MEDICAL_HISTORY", "PHYSICAL_EXAM", "PRESCRIPTION"]
    core(section_keys={"RESULTS": "LAB_RESULTS", "null": "SUBJECTIVE"}).ask(exported(note=note))
    sent = [each["key"] for each in asked_of(server)["note"]["sections"]]
    assert sent[3:] == ["LAB_RESULTS", "SUBJECTIVE"]


def test_a_note_without_a_section_that_may_be_sent_is_not_sent(
    server: NablaServer, core: Callable[..., CoreClient]
) -> None:
    with pytest.raises(NothingToNormalizeError):
        core().ask(exported(note={"sections": [{"content": "text", "category": None}]}))
    assert server.asked == []


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (refusal(400, 83023, "NOTE_HAS_NO_PATIENT_INSTRUCTIONS_INFORMATION"), NablaRefusedError),
        (refusal(422, 400), NablaRefusedError),
        (refusal(404, 20000, "ENTITY_NOT_FOUND"), UnknownEntityError),
        (Reply(404, {"message": "no such version"}), SunsetVersionError),
        (Reply(404, b"<html>"), SunsetVersionError),
        (refusal(429, 85000, "ORGANIZATION_RATE_LIMITED"), RateLimitedError),
        (refusal(400, 85000, "ORGANIZATION_RATE_LIMITED"), RateLimitedError),
        (refusal(500, 1), PeerUnavailableError),
        (Reply(200, b"<html>"), MalformedAnswerError),
        (Reply(200, []), MalformedAnswerError),
    ],
)
def test_errors_are_told_by_their_number_and_only_the_trace_is_logged(
    server: NablaServer, core: Callable[..., CoreClient], reply: Reply, error: type[Exception]
) -> None:
    lines = io.StringIO()
    telemetry.configure("test", stream=lines)
    server.answers[SYNC] = lambda _: reply
    with pytest.raises(error) as raised:
        core().ask(exported())
    assert "SECRET" not in lines.getvalue() + str(raised.value)
    if isinstance(reply.content, dict) and "trace_id" in reply.content:
        assert reply.content["trace_id"] in lines.getvalue()


def test_a_limit_is_kept_away_from_as_long_as_nabla_says_else_a_minute(
    server: NablaServer, core: Callable[..., CoreClient]
) -> None:
    said = refusal(429, 85000)
    server.answers[SYNC] = lambda _: said
    with pytest.raises(RateLimitedError) as raised:
        core().ask(exported())
    assert raised.value.retry_after == timedelta(minutes=1)
    said.headers["Retry-After"] = "17"
    with pytest.raises(RateLimitedError) as raised:
        core().ask(exported())
    assert raised.value.retry_after == timedelta(seconds=17)


def test_a_client_that_nabla_does_not_know_is_refused_and_nothing_is_sent(
    server: NablaServer, core: Callable[..., CoreClient]
) -> None:
    with pytest.raises(NablaRefusedError):
        core(client_id="somebody-else").ask(exported())
    assert server.refused_because == "iss and sub"
    assert server.asked_for(SYNC) == []


def _user_token(clock: SettableClock, seconds: int = 300) -> str:
    ends = int((clock.now() + timedelta(seconds=seconds)).timestamp())
    return jwt.encode({"exp": ends}, "k" * 32, "HS256")


def test_the_asynchronous_way_asks_as_a_user_and_polls_until_the_result_is_there(
    server: NablaServer, core: Callable[..., CoreClient], frozen_clock: SettableClock
) -> None:
    token = _user_token(frozen_clock)
    server.answers["/jwt/authenticate/u-1"] = lambda _: Reply(
        200, {"access_token": token, "refresh_token": "r"}
    )
    server.answers[ASYNC] = lambda _: Reply(200, {"id": "job-1", "status": "ONGOING"})
    states: Iterator[dict[str, Any]] = iter(
        [
            {"id": "job-1", "status": "ongoing"},
            {"id": "job-1", "status": "succeeded", "payload": EMPTY},
        ]
    )
    server.answers[f"{ASYNC}/job-1"] = lambda _: Reply(200, next(states))
    client = core(api_version="2026-07-01", is_async=True, user_id="u-1")
    begun = client.ask(exported())
    assert (begun.response, begun.job_id) == (None, "job-1")
    assert client.poll("job-1").response is None
    assert json.loads(client.poll("job-1").response or b"") == EMPTY
    asked = server.asked_for(ASYNC)[0]
    assert asked.path == f"/v1/core/user{ASYNC}"
    assert asked.headers["authorization"] == f"Bearer {token}"
    assert len(server.asked_for("/jwt/authenticate/u-1")) == 1
    frozen_clock.advance(timedelta(minutes=5))
    server.answers[f"{ASYNC}/job-1"] = lambda _: Reply(
        200, {"id": "job-1", "status": "FAILED", "payload": {"error_code": 7}}
    )
    with pytest.raises(FailedJobError):
        client.poll("job-1")
    assert len(server.asked_for("/jwt/authenticate/u-1")) == 2


def test_a_job_that_succeeded_without_a_result_is_no_answer(
    server: NablaServer, core: Callable[..., CoreClient], frozen_clock: SettableClock
) -> None:
    token = _user_token(frozen_clock)
    server.answers["/jwt/authenticate/u-1"] = lambda _: Reply(200, {"access_token": token})
    server.answers[f"{ASYNC}/job-1"] = lambda _: Reply(200, {"id": "job-1", "status": "SUCCEEDED"})
    with pytest.raises(MalformedAnswerError):
        core(api_version="2026-07-01", is_async=True, user_id="u-1").poll("job-1")


def test_an_encounter_is_opened_and_its_address_is_never_logged(
    server: NablaServer, connected: Callable[..., Any]
) -> None:
    lines = io.StringIO()
    telemetry.configure("test", stream=lines)
    server.answers["/encounters"] = lambda _: Reply(200, {"encounter_url": "https://n/one-time"})
    assert connected().open_encounter(ENCOUNTER) == "https://n/one-time"
    assert asked_of(server, "/encounters") == {
        "provider_email": "dr@example.org",
        "external_provider_id": "dr",
        "external_patient_id": "p1",
        "external_encounter_id": "e1",
        "structured_context": {
            "patient_demographics": {
                "name": "Ada Example",
                "birth_date": "1950-01-02",
                "gender": "FEMALE",
                "pronouns": None,
            },
            "visit_diagnoses": [],
        },
    }
    assert "one-time" not in lines.getvalue()
    assert "Ada" not in lines.getvalue()


def test_before_2026_02_13_an_encounter_has_its_older_shape(
    server: NablaServer, connected: Callable[..., Any]
) -> None:
    server.answers["/encounters"] = lambda _: Reply(200, {"encounter_url": "https://n/1"})
    connected("2026-02-12").open_encounter(ENCOUNTER)
    asked = asked_of(server, "/encounters")
    assert asked["encounter_data"] == {
        "patient_name": "Ada Example",
        "patient_dob": "1950-01-02",
        "patient_gender": "FEMALE",
    }
    assert "structured_context" not in asked


@pytest.mark.parametrize(
    ("version", "changes"),
    [
        ("2026-02-12", {"visit_diagnoses": (DIAGNOSIS,)}),
        ("2026-03-23", {"gender": "UNKNOWN"}),
        ("2026-03-23", {"pronouns": "they"}),
        ("2026-03-23", {"visit_diagnoses": ({**DIAGNOSIS, "system": "http://snomed.info/sct"},)}),
        ("2026-03-23", {"unstructured_context": "x" * 701}),
        ("2026-03-23", {"external_encounter_id": ""}),
    ],
)
def test_what_a_version_has_no_place_for_is_not_sent(
    server: NablaServer, connected: Callable[..., Any], version: str, changes: dict[str, Any]
) -> None:
    from dataclasses import replace

    with pytest.raises(UnsuitableRequestError):
        connected(version).open_encounter(replace(ENCOUNTER, **changes))
    assert server.asked == []


def test_a_fresh_address_is_asked_for_by_both_ids(
    server: NablaServer, connected: Callable[..., Any]
) -> None:
    server.answers["/encounters/url"] = lambda _: Reply(200, {"encounter_url": "https://n/2"})
    assert connected().encounter_url("dr", "e1") == "https://n/2"
    assert asked_of(server, "/encounters/url") == {
        "external_provider_id": "dr",
        "external_encounter_id": "e1",
    }


def test_an_answer_without_an_address_is_named(
    server: NablaServer, connected: Callable[..., Any]
) -> None:
    server.answers["/encounters"] = lambda _: Reply(200, {})
    with pytest.raises(MalformedAnswerError):
        connected().open_encounter(ENCOUNTER)


def test_a_user_whose_ids_point_at_two_people_is_a_named_conflict(
    server: NablaServer, connected: Callable[..., Any]
) -> None:
    user = User(
        provider_email="dr@example.org",
        external_provider_id="dr",
        settings={"speech_locale": "FRENCH_FR"},
    )
    server.answers["/users"] = lambda _: Reply(200, {"id": "1"})
    connected().add_user(user)
    assert asked_of(server, "/users")["settings"] == {"speech_locale": "FRENCH_FR"}
    server.answers["/users"] = lambda _: refusal(409, 409)
    with pytest.raises(ConflictingUserError):
        connected().add_user(user)
    with pytest.raises(UnsuitableRequestError):
        connected("2026-03-22").add_user(user)
