"""What is told to an EHR: valid R4 by two independent judges, in percent, with its provenance."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import fhirkit
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fhir.outbound import NothingToWriteBackError, entries_of, transaction
from adapters.fhir.release import resource_class
from adapters.sites.write_back import WriteBackChoices
from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.horizon import UNTIL_DISCHARGE, Horizon
from clinical.prediction.prediction import Capsule, Forecast, ModelFingerprint, Prediction
from clinical.prediction.readout import Interval, Readout, ReadoutKind
from clinical.prediction.request import PredictionRequest
from clinical.review.decision import Decision, Reason, Verdict
from clinical.review.writeback import WriteBack
from clinical.timeline.code import Code, CodeSystem

AS_OF = datetime(2024, 3, 1, 8, tzinfo=UTC)
MONTH = Horizon(timedelta(days=0), timedelta(days=30))


def risk(estimate: float = 0.3, low: float = 0.2, high: float = 0.45) -> Readout:
    return Readout(
        name="admission",
        kind=ReadoutKind.PROBABILITY,
        horizon=MONTH,
        code=Code(CodeSystem.SNOMED_CT, "32485007", "Hospital admission"),
        estimate=estimate,
        intervals=(Interval(low, high, 0.9),),
        calibration_id="platt-1",
    )


def write_back(*readouts: Readout, verdict: Verdict = Verdict.AGREE, **changes: Any) -> WriteBack:
    prediction = Prediction(
        request=PredictionRequest(
            prediction_id=UUID(int=5), patient_id=UUID(int=6), as_of=AS_OF, received_by=AS_OF
        ),
        forecast=Forecast(
            trajectory=None,
            readouts=readouts or (risk(),),
            abstention=None,
            familiarity=0.5,
            unseen_code_share=0.0,
            capsule=Capsule(
                input_digest="a",
                config_digest="b",
                model=ModelFingerprint(
                    name="small", version="1", manifest_digest="ab" * 32, vocabulary_digest="c"
                ),
                code_version="0",
                torch_version="0",
                device="cpu",
                seed=0,
                num_events=9,
            ),
        ),
        made_at=AS_OF,
    )
    decision = Decision(
        decision_id=UUID(int=8),
        review_id=UUID(int=9),
        verdict=verdict,
        reasons=(Reason.ACKNOWLEDGED,),
        note="",
        decided_by="dr.who",
        decided_at=AS_OF + timedelta(hours=1),
        prediction_digest=prediction.forecast.output_digest,
    )
    made = WriteBack(
        site="north",
        patient_reference="Patient/p1",
        prediction=prediction,
        decision=decision,
        basis=("Condition/c1", "MEDS/abc", "NablaNote/e1", "Observation/sha256-00"),
    )
    return replace(made, **changes)


EVERYTHING = ("RiskAssessment", "Task", "Flag", "Communication")


def write_back_bundle(told: WriteBack, **choices: Any) -> dict[str, Any]:
    return transaction(entries_of(told, WriteBackChoices(**choices)))


def resources(bundle: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["resource"]["resourceType"]: entry["resource"] for entry in bundle["entry"]}


def test_the_bundle_and_all_in_it_are_valid_r4_for_both_judges() -> None:
    bundle = write_back_bundle(write_back(risk(), risk(0.001, 0.0, 1.0)))
    for resource in (bundle, *resources(bundle).values()):
        text = json.dumps(resource)
        resource_class(resource["resourceType"]).model_validate_json(text)
        assert list(fhirkit.validate(text)) == []


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_probability_is_always_a_range_in_percent(a: float, b: float, c: float) -> None:
    """Invariants ras-1 and ras-2: the unit is %, and nothing exceeds 100."""
    low, estimate, high = sorted((a, b, c))
    said = resources(write_back_bundle(write_back(risk(estimate, low, high))))
    (prediction,) = said["RiskAssessment"]["prediction"]
    assert "probabilityDecimal" not in prediction
    for end, value in (("low", low), ("high", high)):
        quantity = prediction["probabilityRange"][end]
        assert (quantity["code"], quantity["system"]) == ("%", "http://unitsofmeasure.org")
        assert quantity["value"] == pytest.approx(100 * value, abs=1e-4)
        assert 0 <= quantity["value"] <= 100
    assert "percent" in prediction["rationale"]


def test_the_window_the_data_cut_and_the_basis_are_stated() -> None:
    said = resources(write_back_bundle(write_back()))
    assessment = said["RiskAssessment"]
    assert assessment["occurrenceDateTime"] == "2024-03-01T08:00:00.000+00:00"
    assert assessment["prediction"][0]["whenPeriod"] == {
        "start": "2024-03-01T08:00:00.000+00:00",
        "end": "2024-03-31T08:00:00.000+00:00",
    }
    assert assessment["basis"] == [{"reference": "Condition/c1"}]
    assert assessment["method"] == {"text": "small 1"}
    assert assessment["subject"] == {"reference": "Patient/p1"}
    assert assessment["prediction"][0]["outcome"]["coding"][0]["system"] == "http://snomed.info/sct"


@pytest.mark.parametrize("probability", ["range", "decimal"])
@pytest.mark.parametrize("takes_device", [True, False])
@pytest.mark.parametrize("kinds", [EVERYTHING, *[(each,) for each in EVERYTHING]])
def test_whatever_a_site_wants_is_valid_r4_for_both_judges(
    kinds: tuple[str, ...], takes_device: bool, probability: str
) -> None:
    choices = WriteBackChoices(resources=kinds, probability=probability)  # type: ignore[arg-type]
    entries = entries_of(
        write_back(risk(), risk(0.001, 0.0, 1.0)),
        choices,
        lambda kind: takes_device or kind != "Device",
    )
    assert {each.resource["resourceType"] for each in entries} == {
        *kinds,
        "Provenance",
        *(["Device"] if takes_device else []),
    }
    for resource in (transaction(entries), *(each.resource for each in entries)):
        text = json.dumps(resource)
        resource_class(resource["resourceType"]).model_validate_json(text)
        assert list(fhirkit.validate(text)) == []


def test_a_decimal_is_a_percentage_and_says_so_in_words() -> None:
    """ras-2: at most 100, and nobody can take 30 for a fraction."""
    said = resources(write_back_bundle(write_back(risk(0.3)), probability="decimal"))
    (prediction,) = said["RiskAssessment"]["prediction"]
    assert prediction["probabilityDecimal"] == 30
    assert prediction["qualitativeRisk"] == {"text": "30 percent"}
    assert "All values are percentages" in prediction["rationale"]


def test_a_flag_is_raised_from_the_sites_limit_on_and_stands_as_long_as_the_window() -> None:
    low, high = risk(0.1, 0.05, 0.2), risk(0.4, 0.3, 0.5)
    entries = entries_of(write_back(low, high), WriteBackChoices(resources=("Flag",), flag_at=0.3))
    (flag,) = [each.resource for each in entries if each.resource["resourceType"] == "Flag"]
    assert flag["period"]["end"] == "2024-03-31T08:00:00.000+00:00"
    assert "40 percent" in flag["code"]["text"]


def test_where_no_risk_is_high_enough_for_a_flag_nothing_is_told() -> None:
    with pytest.raises(NothingToWriteBackError):
        entries_of(write_back(risk(0.1)), WriteBackChoices(resources=("Flag",), flag_at=0.3))


def test_a_task_points_at_the_assessment_or_says_it_in_words() -> None:
    both = resources(write_back_bundle(write_back(), resources=("Task", "RiskAssessment")))
    alone = resources(write_back_bundle(write_back(), resources=("Task",)))
    assert both["Task"]["focus"]["reference"] == "urn:uuid:00000000-0000-0000-0000-000000000005"
    assert "focus" not in alone["Task"]
    assert "30 percent" in alone["Task"]["description"]
    assert both["Task"]["owner"]["display"] == "dr.who"


def test_a_communication_says_number_interval_source_and_who_agreed() -> None:
    said = resources(write_back_bundle(write_back(), resources=("Communication",)))
    words = " ".join(each["contentString"] for each in said["Communication"]["payload"])
    for expected in ("30 percent", "90 percent interval", "small 1", "2024-03-01", "dr.who agreed"):
        assert expected in words


def test_a_risk_until_discharge_is_a_period_that_is_not_over_and_valid() -> None:
    said = resources(write_back_bundle(write_back(replace(risk(), horizon=UNTIL_DISCHARGE))))
    text = json.dumps(said["RiskAssessment"])
    assert set(said["RiskAssessment"]["prediction"][0]["whenPeriod"]) == {"start"}
    resource_class("RiskAssessment").model_validate_json(text)
    assert list(fhirkit.validate(text)) == []


def test_everything_asserted_by_ai_is_labelled_and_the_verifier_is_named() -> None:
    bundle = write_back_bundle(write_back())
    said = resources(bundle)
    assert said["RiskAssessment"]["meta"]["security"][0]["code"] == "AIAST"
    provenance = said["Provenance"]
    assert provenance["reason"][0]["coding"][0]["code"] == "AIAST"
    device, human = provenance["agent"]
    urls = {entry["resource"]["resourceType"]: entry["fullUrl"] for entry in bundle["entry"]}
    assert device["who"]["reference"] == urls["Device"]
    assert said["RiskAssessment"]["performer"]["reference"] == urls["Device"]
    assert provenance["target"] == [{"reference": urls["RiskAssessment"]}]
    assert human["who"]["display"] == "dr.who"
    assert device["role"][0]["coding"][0]["code"] == "Artificial-Intelligence"
    assert said["Device"]["type"]["coding"][0]["code"] == "Artificial-Intelligence"
    assert human["type"]["coding"][0]["code"] == "verifier"


def test_every_create_is_conditional_and_the_same_the_second_time() -> None:
    first, second = write_back_bundle(write_back()), write_back_bundle(write_back())
    assert first == second
    assert all(entry["request"]["ifNoneExist"] for entry in first["entry"])


def test_a_note_of_the_clinician_goes_with_it() -> None:
    decision = replace(write_back().decision, note="less, I think")
    changed = write_back(decision=decision)
    (note,) = resources(write_back_bundle(changed))["RiskAssessment"]["note"]
    assert (note["authorString"], note["text"]) == ("dr.who", "less, I think")


def test_nothing_leaves_that_was_not_agreed_with_or_is_no_risk() -> None:
    withheld = Readout(
        name="admission",
        kind=ReadoutKind.PROBABILITY,
        horizon=MONTH,
        abstention=Abstention(AbstentionReason.NOT_CALIBRATED, "too few outcomes"),
    )
    quantity = replace(risk(), kind=ReadoutKind.QUANTITY)
    for refused in (
        write_back(verdict=Verdict.DISAGREE),
        write_back(verdict=Verdict.CANNOT_ASSESS),
        write_back(withheld),
        write_back(quantity),
    ):
        with pytest.raises(NothingToWriteBackError):
            write_back_bundle(refused)
