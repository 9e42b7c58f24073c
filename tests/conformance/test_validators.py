"""The validators catch what they are there for: a judge that never objects would be none."""

from copy import deepcopy
from typing import Any

import pytest

from clinical.audit.entry import AuditKind
from tests.adapters.fhir.test_outbound import resources, write_back, write_back_bundle
from tests.conformance.balp import broken_rules
from tests.conformance.entries import entry_of
from tests.conformance.test_audit_events import rendered
from tests.conformance.validators import assert_valid_everywhere, has_medplum, medplum_errors

READ = rendered(entry_of(AuditKind.REVIEW_READ))


def wrong(**changes: Any) -> dict[str, Any]:
    return deepcopy(READ) | changes


@pytest.mark.parametrize(
    "resource",
    [
        wrong(action="X"),  # no such code: only the JSON Schema knows
        wrong(recorded="yesterday"),
        wrong(agent=[]),
        wrong(colour="blue"),
        wrong(outcomeDesc=None),
        wrong(outcome=0),
        {name: value for name, value in READ.items() if name != "source"},
    ],
    ids=["code", "instant", "empty", "unknown", "null", "number", "missing"],
)
def test_each_kind_of_wrong_is_caught_by_one_of_them(resource: dict[str, Any]) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - each judge has errors of its own
        assert_valid_everywhere(resource)


@pytest.mark.skipif(not has_medplum(), reason="npm install --prefix tests/conformance")
def test_medplum_refuses_more_than_a_hundred_percent() -> None:
    """Invariant ras-2, of which one false alarm is excused, and nothing else."""
    assessment = resources(write_back_bundle(write_back()))["RiskAssessment"]
    (prediction,) = assessment["prediction"]
    del prediction["probabilityRange"]
    prediction["probabilityDecimal"] = 250
    assert medplum_errors(assessment) != []


@pytest.mark.parametrize(
    "broken",
    [
        {"action": "C"},
        {"agent": READ["agent"][:1]},
        {"agent": [*READ["agent"], READ["agent"][0]]},
        {"agent": [{**READ["agent"][0], "network": {}}, *READ["agent"][1:]]},
        {"outcome": "4"},
        {"subtype": READ["subtype"][1:]},
    ],
    ids=["action", "no server", "two clients", "no network", "outcome", "subtype"],
)
def test_our_rules_of_balp_catch_what_breaks_them(broken: dict[str, Any]) -> None:
    assert broken_rules(READ) == []
    assert broken_rules(wrong(**broken)) != []
