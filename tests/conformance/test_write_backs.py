"""Write-backs in all their shapes, and what we expose of them, are valid for every validator."""

from dataclasses import replace
from uuid import UUID

import pytest

from adapters.fhir.exposed import told
from adapters.fhir.outbound import NothingToWriteBackError, entries_of, transaction
from adapters.sites.write_back import WriteBackChoices
from clinical.prediction.horizon import UNTIL_DISCHARGE
from clinical.review.writeback import WriteBack
from clinical.timeline.code import Code, CodeSystem
from tests.adapters.fhir.test_outbound import resources, risk, write_back
from tests.conformance.validators import assert_valid_everywhere

NOTED = replace(write_back().decision, note="less, I think")
SHAPES = {
    "one risk": write_back(),
    "several risks": write_back(risk(), risk(0.0, 0.0, 0.1), risk(1.0, 0.9, 1.0)),
    "a tiny risk": write_back(risk(1e-7, 0.0, 2e-7)),
    "until discharge": write_back(replace(risk(), horizon=UNTIL_DISCHARGE)),
    "no code": write_back(replace(risk(), code=None)),
    "a code in words": write_back(replace(risk(), code=Code(CodeSystem.TEXT, "fever"))),
    "nothing it rests on": write_back(basis=()),
    "a note": write_back(decision=NOTED),
    "no calibration": write_back(replace(risk(), calibration_id=None)),
}


KINDS = ("RiskAssessment", "Task", "Flag", "Communication")
CHOICES = [
    WriteBackChoices(resources=kinds, probability=probability, has_provenance=proves, match=match)
    for kinds in (KINDS, *((kind,) for kind in KINDS), KINDS[1:])
    for probability in ("range", "decimal")
    for proves in (True, False)
    for match in (("identifier", "_tag") if kinds is KINDS else ("identifier",))
]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_write_back_is_valid_as_a_bundle_and_by_its_resources(shape: str) -> None:
    """In all that a site may choose, and for an EHR that takes no Device too."""
    judged = 0
    for choices in CHOICES:
        for takes in (lambda _: True, lambda kind: kind != "Device"):
            try:
                bundle = transaction(entries_of(SHAPES[shape], choices, takes))
            except NothingToWriteBackError:  # a flag alone, and no risk is high enough for one
                continue
            assert_valid_everywhere(bundle)
            for resource in resources(bundle).values():
                assert_valid_everywhere(resource)
            judged += 1
    assert judged >= len(CHOICES)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_exposed_of_it_is_valid_and_refers_to_itself(shape: str) -> None:
    exposed = told(SHAPES[shape])
    for resource in exposed.values():
        assert_valid_everywhere(resource)
        assert UUID(resource["id"])
    assessment, device = exposed["RiskAssessment"], exposed["Device"]
    assert assessment["performer"] == {"reference": f"Device/{device['id']}"}
    assert exposed["Provenance"]["target"] == [{"reference": f"RiskAssessment/{assessment['id']}"}]
    assert "urn:uuid" not in str([assessment["performer"], exposed["Provenance"]["agent"]])


def test_it_is_labelled_as_asserted_by_ai() -> None:
    made: WriteBack = write_back()
    for name in ("RiskAssessment", "Provenance"):
        assert told(made)[name]["meta"]["security"][0]["code"] == "AIAST"
