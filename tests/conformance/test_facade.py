"""What we expose as FHIR: to whom, how it is searched, what is never shown, and that each look is audited."""

import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from adapters.clock import TimeOrderedIdentities
from adapters.db.tokens import AccessTokens, TokenLifetimeError
from adapters.http.searches import parameters_of
from clinical.audit.entry import Act, AuditKind
from clinical.errors import NotFoundError
from clinical.prediction.registry import Concern
from clinical.review.decision import Verdict
from clinical.services.recall import RecallService
from clinical.services.registry import RegistryService
from tests.conformance.balp import broken_rules, profile_of
from tests.conformance.conftest import Exposed
from tests.conformance.validators import assert_valid_everywhere

pytestmark = pytest.mark.integration


def resources(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fhir+json"
    return [entry["resource"] for entry in answer.json().get("entry", [])]


def tokens_of(exposed: Exposed) -> AccessTokens:
    return AccessTokens(exposed.stage.engine, TimeOrderedIdentities())


def entries(exposed: Exposed, kind: AuditKind) -> list[dict[str, str]]:
    with exposed.stage.deps.open_unit_of_work() as uow:
        uow.audit_log.sequence(10_000, exposed.stage.clock.now())
        return [each.refs for _, each, _ in uow.audit_log.sequenced() if each.kind is kind]


def test_everything_that_is_answered_is_valid_everywhere(exposed: Exposed) -> None:
    prediction_id = exposed.decide("p1")
    patient = exposed.get(f"RiskAssessment/{prediction_id}", exposed.clinician).json()["subject"]
    paths = [
        ("metadata", ""),
        (f"RiskAssessment/{prediction_id}", exposed.clinician),
        (f"Provenance/{prediction_id}", exposed.clinician),
        (patient["reference"], exposed.clinician),
        ("RiskAssessment", exposed.clinician),
        ("Provenance", exposed.clinician),
        ("Device", exposed.clinician),
        ("AuditEvent?_count=200", exposed.auditor),
        ("AuditEvent?date=lt2020-01-01", exposed.auditor),  # an empty page has no empty list
        ("AuditEvent", exposed.clinician),
        ("AuditEvent", "nonsense"),
        ("AuditEvent?colour=blue", exposed.auditor),
        ("Observation", exposed.clinician),
        ("RiskAssessment/not-an-id", exposed.clinician),
        ("$export", exposed.clinician),
        ("a/b/c/d", exposed.clinician),
    ]
    for path, token in paths:
        answer = exposed.get(path, token)
        assert answer.headers["content-type"] == "application/fhir+json", path
        assert_valid_everywhere(answer.json())
        assert (answer.json()["resourceType"] == "OperationOutcome") == (answer.status_code >= 400)


def test_every_audit_event_that_is_answered_keeps_its_balp_profile(exposed: Exposed) -> None:
    exposed.decide("p1")
    exposed.get("RiskAssessment", exposed.clinician)
    events = resources(exposed.get("AuditEvent?_count=200", exposed.auditor))
    claimed = [each for each in events if profile_of(each)]
    assert len(claimed) >= 8
    assert [broken_rules(each) for each in claimed] == [[]] * len(claimed)
    assert {profile_of(each) for each in claimed} >= {"PatientCreate", "PatientUpdate"}


@pytest.mark.parametrize(
    ("path", "who", "status", "code"),
    [
        ("AuditEvent", "nobody", 401, "login"),
        ("AuditEvent", "clinician", 403, "forbidden"),
        ("RiskAssessment", "auditor", 403, "forbidden"),
        ("Patient/00000000-0000-4000-8000-000000000000", "auditor", 403, "forbidden"),
        ("Patient", "clinician", 403, "forbidden"),
        ("Observation", "clinician", 404, "not-found"),
        ("RiskAssessment/1", "clinician", 404, "not-found"),
    ],
)
def test_who_may_not_is_told_so_in_an_operation_outcome(
    exposed: Exposed, path: str, who: str, status: int, code: str
) -> None:
    token = {"clinician": exposed.clinician, "auditor": exposed.auditor}.get(who, "cjt_wrong")
    answer = exposed.get(path, token)
    assert answer.status_code == status
    (issue,) = answer.json()["issue"]
    assert issue["code"] == code
    assert issue["details"]["coding"][0]["code"]
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_the_session_of_the_page_is_as_good_as_a_token(exposed: Exposed) -> None:
    decided = exposed.decide("p1")
    exposed.stage.sign_in("anna")
    (found,) = resources(exposed.stage.client.get(f"{exposed.base}/RiskAssessment"))
    assert found["id"] == str(decided)
    wrong = exposed.get("RiskAssessment", "cjt_wrong")
    assert wrong.status_code == 401  # a bad token is not made good by a cookie


def test_an_auditor_may_not_see_reviews(exposed: Exposed) -> None:
    from adapters.http.sessions import COOKIE, token_for
    from tests.adapters.http.conftest import Person

    review_id = exposed.stage.add_patient("p1")
    olga = token_for(
        Person("olga", "Olga", "auditor"), exposed.stage.clock.now(), exposed.stage.deps
    )
    exposed.stage.client.cookies.set(COOKIE, olga)
    for path in ("/v1/reviews", f"/v1/reviews/{review_id}", f"/v1/reviews/{review_id}/timeline"):
        assert exposed.stage.get(path).status_code == 403
    assert exposed.stage.get("/v1/audit/head").status_code == 200


def test_a_token_ends_with_its_time_with_its_revocation_and_with_its_account(
    exposed: Exposed,
) -> None:
    from sqlalchemy import update

    from adapters.db.tables import clinicians

    tokens, clock = tokens_of(exposed), exposed.stage.clock
    act = Act(actor="admin", at=clock.now())
    short, for_a_day = tokens.issue("anna", act, timedelta(days=1))
    other, revoked = tokens.issue("anna", act, timedelta(days=9))
    tokens.revoke(other.token_id, act)
    tokens.revoke(other.token_id, act)  # once more is no error
    assert exposed.get("Device", for_a_day).status_code == 200
    assert exposed.get("Device", revoked).status_code == 401
    clock.advance(timedelta(days=1))
    assert exposed.get("Device", for_a_day).status_code == 401
    assert exposed.get("Device", exposed.clinician).status_code == 200
    with exposed.stage.engine.begin() as connection:
        connection.execute(update(clinicians).values(is_active=False))
    assert exposed.get("Device", exposed.clinician).status_code == 401
    assert len(entries(exposed, AuditKind.TOKEN_REVOKED)) == 1
    assert {"token": str(short.token_id)} in entries(exposed, AuditKind.TOKEN_ISSUED)


def test_of_a_token_only_the_digest_is_stored(exposed: Exposed) -> None:
    from sqlalchemy import text

    with exposed.stage.engine.connect() as connection:
        stored = str(connection.execute(text("SELECT * FROM access_tokens")).all())
    assert exposed.clinician not in stored
    assert exposed.clinician.startswith("cjt_")


def test_a_token_is_for_an_account_that_is_there_and_for_a_year_at_most(exposed: Exposed) -> None:
    tokens, act = tokens_of(exposed), Act(actor="admin", at=exposed.stage.clock.now())
    with pytest.raises(NotFoundError):
        tokens.issue("nobody", act, timedelta(days=1))
    for days in (0, 400):
        with pytest.raises(TokenLifetimeError):
            tokens.issue("anna", act, timedelta(days=days))


def test_only_what_a_clinician_agreed_with_is_told(exposed: Exposed) -> None:
    agreed = exposed.decide("p1")
    disagreed = exposed.decide("p2", Verdict.DISAGREE)
    exposed.stage.add_patient("p3")  # nobody has decided
    found = resources(exposed.get("RiskAssessment", exposed.clinician))
    assert [each["id"] for each in found] == [str(agreed)]
    assert exposed.get(f"RiskAssessment/{disagreed}", exposed.clinician).status_code == 404


def test_nothing_of_a_stopped_model_is_told(exposed: Exposed) -> None:
    decided, deps = exposed.decide("p1"), exposed.stage.deps
    registry = RegistryService(
        open_unit_of_work=deps.open_unit_of_work, clock=deps.clock, identities=deps.identities
    )
    registry.stop("staged", "anna", Concern.SAFETY, "")
    assert resources(exposed.get("RiskAssessment", exposed.clinician)) == []
    assert exposed.get(f"Provenance/{decided}", exposed.clinician).status_code == 404


def test_what_was_recalled_is_told_again_once_somebody_looked_again(exposed: Exposed) -> None:
    exposed.decide("p1")
    deps = exposed.stage.deps
    recalls = RecallService(
        open_unit_of_work=deps.open_unit_of_work, clock=deps.clock, identities=deps.identities
    )
    recalls.recall(recalls.of_model("staged"), "anna", Concern.SAFETY)
    assert resources(exposed.get("RiskAssessment", exposed.clinician)) == []
    (touched,) = recalls.signed(recalls.of_model("staged"), 1)
    assert touched.review_id is not None
    recalls.look_again(touched.review_id, Act(actor="anna", at=deps.clock.now()))
    assert len(resources(exposed.get("RiskAssessment", exposed.clinician))) == 1


@pytest.mark.parametrize(
    "query",
    [
        "colour=blue",
        "patient=Observation/1",
        "patient=mrn-77",
        "identifier=urn:oid:1|2",
        "_count=0",
        "_count=many",
        "_format=xml",
        "_lastUpdated=2026",
        "_lastUpdated=2026-01-01T10:00:00",
        "_lastUpdated=ne2026-01-01",
        "_id=1&_id=2",
        "patient:identifier=urn:oid:1|2",
    ],
)
def test_a_search_that_is_not_understood_is_refused_and_never_widened(
    exposed: Exposed, query: str
) -> None:
    answer = exposed.get(f"RiskAssessment?{query}", exposed.clinician)
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["details"]["coding"][0]["code"] == "fhir.bad_search"
    assert "mrn-77" not in answer.text


def test_pages_hold_everything_once_also_while_more_comes(exposed: Exposed) -> None:
    for number in range(4):
        exposed.stage.add_patient(f"p{number}")
    url: str | None = "AuditEvent?_count=3&subtype=prediction.stored.v1"
    found: list[str] = []
    while url:
        answer = exposed.get(url, exposed.auditor)
        found += [each["id"] for each in resources(answer)]
        links = {link["relation"]: link["url"] for link in answer.json()["link"]}
        url = links["next"].removeprefix(f"{exposed.base}/") if "next" in links else None
        exposed.stage.add_patient(f"later-{len(found)}")
    assert len(found) == len(set(found)) == 4


def test_dates_narrow_each_other_and_days_are_those_of_utc(exposed: Exposed) -> None:
    clock = exposed.stage.clock
    exposed.stage.add_patient("p1")
    day = clock.now().date().isoformat()
    clock.advance(timedelta(days=2))
    exposed.stage.add_patient("p2")
    kind = "subtype=prediction.stored.v1"
    for dates, number in (
        (f"date={day}", 1),
        (f"date=ge{day}", 2),
        (f"date=gt{day}", 1),
        (f"date=le{day}", 1),
        (f"date=lt{day}", 0),
        (f"date=ge{day}&date=lt{clock.now().date().isoformat()}", 1),
    ):
        found = resources(exposed.get(f"AuditEvent?{kind}&{dates}", exposed.auditor))
        assert len(found) == number, dates


def test_audit_events_are_found_by_who_acted_what_was_done_and_to_what(exposed: Exposed) -> None:
    prediction_id = exposed.decide("p1")
    exposed.decide("p2")
    exposed.get(f"RiskAssessment/{prediction_id}", exposed.clinician)

    def kinds(query: str) -> list[str]:
        found = resources(exposed.get(f"AuditEvent?{query}", exposed.auditor))
        return [each["subtype"][1]["code"] for each in found]

    assert kinds(f"entity=RiskAssessment/{prediction_id}") == [
        "resource.read.v1",
        "review.opened.v1",
        "prediction.stored.v1",
    ]
    assert set(kinds("agent:identifier=urn:clinical-jepa:account|admin")) == {"token.issued.v1"}
    assert (
        kinds("subtype=urn:clinical-jepa:audit-kind|review.signed.v1") == ["review.signed.v1"] * 2
    )


def test_a_look_is_audited_with_what_was_seen_and_without_whom_it_was_about(
    exposed: Exposed,
) -> None:
    prediction_id = exposed.decide("p1")
    patient = exposed.get(f"RiskAssessment/{prediction_id}", exposed.clinician).json()["subject"]
    pseudonym = patient["reference"].removeprefix("Patient/")
    exposed.get(f"RiskAssessment?patient={pseudonym}", exposed.clinician)
    exposed.get(f"Patient/{pseudonym}", exposed.clinician)
    (searched,) = entries(exposed, AuditKind.RESOURCES_SEARCHED)
    assert searched["found"] == str(prediction_id)
    assert searched["query"] == "patient=%28not+told%29"
    assert [each["resource"] for each in entries(exposed, AuditKind.RESOURCE_READ)] == [
        "RiskAssessment",
        "Patient",
    ]
    with exposed.stage.deps.open_unit_of_work() as uow:
        log = [str(each.refs) for _, each, _ in uow.audit_log.sequenced()]
    assert not any(pseudonym in each for each in log)


def test_work_of_a_message_is_told_under_the_request_that_it_goes_back_to(
    exposed: Exposed,
) -> None:
    """The log has the id of the message; whoever reads it is told the caller's."""
    from tests.adapters.http.test_webhooks import deliver

    deliver(exposed.stage, **{"X-Request-Id": "ehr-42"})
    with exposed.stage.deps.open_unit_of_work() as uow:
        (message,) = uow.outbox.claim(1, timedelta(minutes=1))
        act = Act(actor="worker", at=exposed.stage.clock.now(), request_id=str(message.message_id))
        uow.audit_log.append(
            act.entry(UUID(int=5), AuditKind.EVENTS_RECORDED, delivery=message.subject_id)
        )
        uow.commit()
    events = resources(exposed.get("AuditEvent?_count=200", exposed.auditor))
    of_request = [
        each["subtype"][1]["code"]
        for each in events
        if any(
            e.get("what", {}).get("identifier", {}).get("value") == "ehr-42" for e in each["entity"]
        )
    ]
    assert set(of_request) == {"delivery.received.v1", "events.recorded.v1"}


def test_the_capability_statement_says_exactly_what_is_understood(exposed: Exposed) -> None:
    (rest,) = exposed.get("metadata", "").json()["rest"]
    for resource in rest["resource"]:
        said = [each["name"] for each in resource.get("searchParam", [])]
        assert said == parameters_of(resource["type"])
        codes = {each["code"] for each in resource["interaction"]}
        answer = exposed.get(resource["type"], exposed.auditor)
        answer = (
            answer
            if answer.status_code == 200
            else exposed.get(resource["type"], exposed.clinician)
        )
        assert ("search-type" in codes) == (answer.status_code == 200)


def test_xml_is_not_spoken_and_nothing_is_written(exposed: Exposed) -> None:
    answer = exposed.get("Device", exposed.clinician, Accept="application/fhir+xml")
    assert answer.status_code == 406
    bearer = {"Authorization": f"Bearer {exposed.clinician}"}
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        refused = exposed.stage.client.request(method, f"{exposed.base}/Device", headers=bearer)
        assert refused.status_code == 405
        assert_valid_everywhere(refused.json())


def test_links_are_of_the_address_that_the_caller_used(exposed: Exposed) -> None:
    exposed.decide("p1")
    answer = exposed.get("Device", exposed.clinician)
    (link,) = answer.json()["link"]
    assert urlsplit(link["url"]).netloc == urlsplit(exposed.base).netloc
    assert json.loads(answer.text)["entry"][0]["fullUrl"].startswith(exposed.base)
