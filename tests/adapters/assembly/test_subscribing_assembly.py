"""Subscriptions of the sites file, joined: what each is followed by, proven by, and where the EHR is told to send."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from adapters.assembly.proofs import verifiers
from adapters.assembly.subscribing import endpoint_of, plan_of, reader_of
from adapters.clock import SystemClock
from adapters.http.proofs import (
    BodySignatureCheck,
    HeaderCheck,
    HubCheck,
    StandardWebhooksCheck,
)
from adapters.sites.file import MalformedSitesFileError, sites_of
from clinical.subscription.notification import RecordRef

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NAMED = {
    "labs": {"topic": "http://t", "proof": {"kind": "header", "values": ["Bearer a"]}},
    "athena": {
        "has_running_counters": False,
        "is_created_here": False,
        "proof": {"kind": "hub", "handshake_token": "a token"},
    },
    "medplum": {
        "form": "classic",
        "topic": "Observation?code=x",
        "proof": {"kind": "hmac", "secrets": ["s"]},
    },
    "plain": {"proof": {"kind": "standard_webhooks", "secrets": [WHSEC]}},
}
STATED = {"sites": {"ward": {"fhir": {"base_url": "https://e.example/r4"}, "subscriptions": NAMED}}}


def test_each_proof_has_its_check(engine: Engine) -> None:
    found = verifiers(sites_of(STATED, folder=Path()), engine, SystemClock())
    assert {name: type(check) for (_, name), check in found.items()} == {
        "labs": HeaderCheck,
        "athena": HubCheck,
        "medplum": BodySignatureCheck,
        "plain": StandardWebhooksCheck,
    }


def test_a_classic_subscription_is_queried_by_its_criteria_and_counts_nothing() -> None:
    stated = sites_of(STATED, folder=Path())["ward"].subscriptions
    plan = plan_of("ward", "medplum", stated["medplum"])
    assert plan.queries == ("Observation?code=x",)
    assert not plan.has_running_counters
    assert plan.is_silence_usual
    assert plan_of("ward", "labs", stated["labs"]).heartbeat == timedelta(seconds=60)


def test_athenahealth_finds_the_token_in_our_address_and_others_do_not() -> None:
    stated = sites_of(STATED, folder=Path())["ward"].subscriptions
    url = "https://us.example/"
    assert endpoint_of("ward", "athena", stated["athena"], url) == (
        "https://us.example/v1/fhir/ward/subscriptions/athena?token=a+token"
    )
    assert endpoint_of("ward", "labs", stated["labs"], url) == (
        "https://us.example/v1/fhir/ward/subscriptions/labs"
    )


def test_references_are_read_by_the_base_of_the_sites_own_server() -> None:
    reader = reader_of(sites_of(STATED, folder=Path()), "ward", "labs")
    assert reader.target("https://e.example/r4/Patient/p") == RecordRef("Patient", "p")
    assert reader.target("https://f.example/r4/Patient/p") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"proof": {"kind": "none"}},
        {"topic": "x"},
        {"proof": {"kind": "header", "values": ["a"]}, "form": "r6"},
        {"proof": {"kind": "header", "values": ["a"]}, "contents": "empty"},
    ],
)
def test_a_subscription_that_says_what_cannot_be_is_refused_by_its_place(
    wrong: dict[str, object],
) -> None:
    stated = {"sites": {"ward": {"subscriptions": {"labs": wrong}}}}
    with pytest.raises(MalformedSitesFileError, match=r"subscriptions"):
        sites_of(stated, folder=Path())


def test_a_proof_without_secrets_is_refused(engine: Engine) -> None:
    proof = {"kind": "header", "values": []}
    stated = {"sites": {"ward": {"subscriptions": {"labs": {"proof": proof}}}}}
    with pytest.raises((ValueError, MalformedSitesFileError)):
        verifiers(sites_of(stated, folder=Path()), engine, SystemClock())
