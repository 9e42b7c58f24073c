"""What each kind of resource becomes, and from when each fact was known."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fhir.kinds import READ
from adapters.fhir.release import resource_class
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Flag, Origin, Phase, Role, Standing
from clinical.timeline.patient import PatientRef
from clinical.timeline.quantity import Comparator, Quantity, QuantityRange
from clinical.timeline.timeline import Timeline
from tests.adapters.fhir import records
from tests.adapters.fhir.records import (
    LOINC,
    RECEIVED,
    SNOMED,
    UCUM,
    amount,
    concept,
    condition,
    event_of,
    events_of,
    observation,
)

SUBJECT = {"subject": {"reference": "Patient/p1"}}
PATIENT = {"patient": {"reference": "Patient/p1"}}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def resource(kind: str, **elements: Any) -> dict[str, Any]:
    return {"resourceType": kind, "id": "r1", **elements}


def test_every_struct_declares_exactly_the_elements_that_r4_has() -> None:
    """Read or skipped by name, none forgotten and none invented."""
    for struct, name in ((struct, struct.__name__) for struct in READ):
        model = resource_class(name)
        known = {field.alias or key for key, field in model.model_fields.items()}
        ours = set(struct.__struct_encode_fields__)
        assert ours == known - {"fhir_comments", "resourceType"}, name


def test_a_patient_is_one_static_event_dated_with_the_birth() -> None:
    born = event_of(resource("Patient", gender="female", birthDate="1970-05"))
    assert (born.kind, born.role) == (EventKind.PATIENT, Role.STATIC)
    assert born.code == Code(CodeSystem.GENDER, "female")
    assert born.occurred_at is not None
    assert born.occurred_at.text == "1970-05"
    assert born.patient_id == PatientRef("north", "r1").patient_id
    unknown = event_of(resource("Patient"))
    assert unknown.flags == {Flag.VALUE_ABSENT}


def test_a_death_is_known_when_it_happened_or_when_it_was_told() -> None:
    _, dated = events_of(resource("Patient", deceasedDateTime="2024-03-01T00:00:00Z"))
    assert (dated.kind, dated.available_at) == (EventKind.DEATH, at("2024-03-01"))
    meta = {"lastUpdated": "2024-04-01T00:00:00Z", "versionId": "3"}
    _, undated = events_of(resource("Patient", deceasedBoolean=True, meta=meta))
    assert (undated.occurred_at, undated.available_at) == (None, at("2024-04-01"))
    assert undated.source.reference == "Patient/r1/3"
    assert len(events_of(resource("Patient", deceasedBoolean=False))) == 1


def test_what_is_known_only_at_the_end_of_an_encounter_is_said_only_there() -> None:
    start, end = events_of(
        resource(
            "Encounter",
            status="finished",
            **{
                "class": {
                    "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
                    "code": "IMP",
                }
            },
            type=[concept(SNOMED, "183452005")],
            period={"start": "2024-03-01T08:00:00Z", "end": "2024-03-04T08:00:00Z"},
            reasonCode=[concept(SNOMED, "233604007")],
            hospitalization={"dischargeDisposition": concept("http://x", "home")},
            **SUBJECT,
        )
    )
    assert (start.phase, start.code.key, start.part) == (Phase.START, "HL7-Act|IMP", "start")
    assert (start.status, start.value, start.available_at) == ("", None, at("2024-03-01T08:00"))
    assert [code.value for code in start.other_codes] == ["183452005"]
    assert (end.phase, end.status, end.available_at) == (
        Phase.END,
        "finished",
        at("2024-03-04T08:00"),
    )
    assert "233604007" in [code.value for code in end.other_codes]
    assert end.value == Code("http://x", "home")
    assert start.encounter == end.encounter == "Encounter/r1"


def test_the_reason_of_an_open_encounter_is_known_from_its_last_change() -> None:
    start, reason = events_of(
        resource(
            "Encounter",
            status="in-progress",
            **{"class": {"code": "EMER"}},
            period={"start": "2024-03-01T08:00:00Z"},
            reasonCode=[concept(SNOMED, "233604007")],
            meta={"lastUpdated": "2024-03-01T12:00:00Z"},
            **SUBJECT,
        )
    )
    assert [code.value for code in start.other_codes] == []
    assert (reason.part, reason.available_at) == ("reason", at("2024-03-01T12:00"))


def test_the_end_of_a_condition_is_not_known_at_its_onset() -> None:
    """A question asked while it lasted sees an onset and no sign of the end."""
    start, end = events_of(
        condition(
            onsetDateTime="2024-03-01T08:00:00Z",
            abatementDateTime="2024-06-01T08:00:00Z",
            recordedDate="2024-03-02T08:00:00Z",
            clinicalStatus=concept("http://x", "resolved"),
        )
    )
    assert (start.status, start.available_at) == ("", at("2024-03-02T08:00"))
    assert (end.status, end.available_at, end.recorded_at) == (
        "resolved",
        at("2024-06-01T08:00"),
        None,
    )
    cut = Timeline.of(start.patient_id, [start, end]).cut(at("2024-05-01"))
    assert [event.part for event in cut] == ["start"]


def test_a_past_condition_that_was_written_down_later_is_known_only_then() -> None:
    start, end = events_of(
        condition(
            onsetDateTime="2010", abatementDateTime="2012", recordedDate="2024-03-02T08:00:00Z"
        )
    )
    assert start.available_at == end.available_at == at("2024-03-02T08:00")


def test_an_end_without_a_date_is_known_from_the_last_change_or_from_receipt() -> None:
    resolved = concept("http://x", "resolved")
    _, told = events_of(
        condition(clinicalStatus=resolved, meta={"lastUpdated": "2024-05-01T00:00:00Z"})
    )
    assert (told.occurred_at, told.available_at) == (None, at("2024-05-01"))
    _, untold = events_of(condition(clinicalStatus=resolved))
    assert untold.available_at == RECEIVED


@pytest.mark.parametrize(
    ("word", "standing"),
    [
        ("confirmed", Standing.ASSERTED),
        ("provisional", Standing.TENTATIVE),
        ("differential", Standing.TENTATIVE),
        ("refuted", Standing.REFUTED),
        ("entered-in-error", Standing.RETRACTED),
    ],
)
def test_the_verification_of_a_condition_is_its_standing(word: str, standing: Standing) -> None:
    assert event_of(condition(verificationStatus=concept("http://x", word))).standing is standing


def test_an_onset_that_is_no_date_dates_nothing_and_is_counted() -> None:
    reading = records.read(
        condition(onsetString="in childhood", recordedDate="2024-03-02T08:00:00Z")
    )
    (event,) = reading.events
    assert (event.occurred_at, event.available_at) == (None, at("2024-03-02T08:00"))
    assert reading.counts["undated:Condition.onset"] == 1


def test_a_corrected_result_is_known_from_its_correction() -> None:
    issued, changed = "2024-03-01T09:00:00Z", {"lastUpdated": "2024-03-05T09:00:00Z"}
    final = event_of(observation(issued=issued, meta=changed))
    corrected = event_of(observation(issued=issued, meta=changed, status="corrected"))
    assert final.available_at == at("2024-03-01T09:00")
    assert corrected.available_at == at("2024-03-05T09:00")


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_a_withdrawn_result_leaves_the_timeline_when_it_was_withdrawn(status: str) -> None:
    before = observation(
        issued="2024-03-01T09:00:00Z", meta={"lastUpdated": "2024-03-01T09:00:00Z"}
    )
    after = before | {"status": status, "meta": {"lastUpdated": "2024-03-05T09:00:00Z"}}
    events = [event_of(before), event_of(after)]
    timeline = Timeline.of(events[0].patient_id, events)
    assert len(timeline.cut(at("2024-03-04"))) == 1
    assert len(timeline.cut(at("2024-03-06"))) == 0


def test_a_result_issued_before_it_was_taken_is_known_from_when_it_was_taken() -> None:
    event = event_of(observation(issued="2020-01-01T00:00:00Z"))
    assert (event.recorded_at, event.available_at) == (None, at("2024-03-01T08:00"))


def test_a_record_from_the_future_is_flagged() -> None:
    assert event_of(observation(issued="2031-01-01T00:00:00Z")).flags == {Flag.FUTURE_RECORDED}


def test_a_panel_of_components_is_its_components() -> None:
    systolic, diastolic = events_of(
        observation(
            code=concept(LOINC, "85354-9"),
            category=[concept("http://x", "vital-signs")],
            component=[
                {
                    "code": concept(LOINC, "8480-6"),
                    "valueQuantity": amount("142", unit="mmHg", system=UCUM, code="mm[Hg]"),
                    "interpretation": [concept("http://x", "HH")],
                },
                {
                    "code": concept(LOINC, "8462-4"),
                    "dataAbsentReason": concept("http://x", "error"),
                },
            ],
        )
    )
    assert (systolic.part, systolic.code.value) == ("component/0", "8480-6")
    assert systolic.value == Quantity(Decimal(142), "mm[Hg]", "mmHg")
    assert systolic.flags == {Flag.HIGH, Flag.CRITICAL}
    assert systolic.category == "vital-signs"
    assert (diastolic.value, diastolic.absent_reason) == (None, "error")
    assert diastolic.flags == {Flag.VALUE_ABSENT}


@pytest.mark.parametrize(
    ("element", "sent", "read"),
    [
        ("valueQuantity", amount("0.40", unit="mg"), Quantity(Decimal("0.40"), "mg", "mg")),
        (
            "valueQuantity",
            amount("-1.0E2", code="1", system=UCUM),
            Quantity(Decimal("-1.0E2"), "1", "1"),
        ),
        (
            "valueQuantity",
            amount("5", comparator="<", unit="mmHg"),
            Quantity(Decimal(5), "mm[Hg]", "mmHg", Comparator.LESS),
        ),
        ("valueInteger", 7, Quantity(Decimal(7), "1")),
        (
            "valueRange",
            {"low": amount("1.50", unit="g"), "high": amount("2", unit="g")},
            QuantityRange(Quantity(Decimal("1.50"), "g", "g"), Quantity(Decimal(2), "g", "g")),
        ),
        ("valueRatio", {"numerator": amount("1"), "denominator": amount("128")}, "1:128"),
        (
            "valueCodeableConcept",
            concept(SNOMED, "260385009"),
            Code(CodeSystem.SNOMED_CT, "260385009"),
        ),
        ("valueString", "trace", "trace"),
        ("valueBoolean", False, False),
        ("valueTime", "08:30:00", "08:30:00"),
        ("valueDateTime", "2024-03", "2024-03"),
        ("valuePeriod", {"start": "2024-03-01", "end": "2024-03-02"}, "2024-03-01/2024-03-02"),
        (
            "valueSampledData",
            {"origin": amount("0"), "period": 1, "dimensions": 1, "data": "1 2 E"},
            "1 2 E",
        ),
    ],
)
def test_every_type_of_value_is_read_with_all_its_digits(
    element: str, sent: Any, read: Any
) -> None:
    event = event_of(observation(**{element: sent}))
    assert event.value == read
    assert str(event.value) == str(read)


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=4
    )
)
def test_every_decimal_keeps_its_digits_in_both_lanes(value: Decimal) -> None:
    event = event_of(observation(valueQuantity=amount(format(value, "f"), unit="mg")))
    assert isinstance(event.value, Quantity)
    assert str(event.value.value) == format(value, "f")


def test_a_medication_request_is_known_when_written_and_withdrawn_when_cancelled() -> None:
    base: dict[str, Any] = {
        "intent": "order",
        "medicationCodeableConcept": concept(
            "http://www.nlm.nih.gov/research/umls/rxnorm", "849574"
        ),
        "authoredOn": "2024-03-01T08:00:00Z",
        "dosageInstruction": [{"doseAndRate": [{"doseQuantity": amount("500", unit="mg")}]}],
        **SUBJECT,
    }
    active = event_of(resource("MedicationRequest", status="active", **base))
    assert (active.code.key, active.role) == ("RxNorm|849574", Role.ACTION)
    assert active.value == Quantity(Decimal(500), "mg", "mg")
    assert active.available_at == at("2024-03-01T08:00")
    standing = {
        word: event_of(resource("MedicationRequest", status=word, **base)).standing
        for word in ("stopped", "cancelled", "entered-in-error", "draft")
    }
    assert standing == {
        "stopped": Standing.ASSERTED,
        "cancelled": Standing.RETRACTED,
        "entered-in-error": Standing.RETRACTED,
        "draft": Standing.TENTATIVE,
    }
    forbidden = resource("MedicationRequest", status="active", doNotPerform=True, **base)
    assert event_of(forbidden).standing is Standing.REFUTED


def test_a_medication_is_found_contained_or_in_the_bundle_and_else_named_by_its_reference() -> None:
    code = concept("http://www.nlm.nih.gov/research/umls/rxnorm", "1")
    medication = {"resourceType": "Medication", "id": "m1", "code": code}
    base: dict[str, Any] = {"status": "completed", "effectiveDateTime": "2024-03-01", **SUBJECT}

    def given_(reference: str, **elements: Any) -> dict[str, Any]:
        referred = {"medicationReference": {"reference": reference, "display": "It"}}
        return resource("MedicationAdministration", **base, **referred, **elements)

    contained = event_of(given_("#m1", contained=[medication]))
    assert contained.code.key == "RxNorm|1"
    for reference in ("urn:uuid:m1", "Medication/m1", "http://ehr/fhir/Medication/m1"):
        (event,) = records.in_both_lanes(records.bundle(given_(reference), medication)).events
        assert event.code.key == "RxNorm|1"
    reading = records.read(given_("Medication/m9"))
    assert reading.events[0].code == Code("Medication", "m9", "It")
    assert reading.counts["unresolved_reference:medication"] == 1
    assert records.refusal(given_("#m9", contained=[medication]))[0] == "fhir.unresolved_reference"


def test_the_dose_of_an_infusion_is_known_at_its_end() -> None:
    start, end = events_of(
        resource(
            "MedicationAdministration",
            status="completed",
            medicationCodeableConcept={"text": "saline"},
            effectivePeriod={"start": "2024-03-01T08:00:00Z", "end": "2024-03-01T09:00:00Z"},
            dosage={"dose": amount("500", unit="mL")},
            **SUBJECT,
        )
    )
    assert (start.value, start.phase) == (None, Phase.START)
    assert (end.value, end.available_at) == (
        Quantity(Decimal(500), "mL", "mL"),
        at("2024-03-01T09:00"),
    )
    assert start.code == Code(CodeSystem.TEXT, "saline", "saline")


def test_a_statement_of_the_patient_is_marked_and_known_from_when_it_was_made() -> None:
    start, end = events_of(
        resource(
            "MedicationStatement",
            status="completed",
            medicationCodeableConcept={"text": "aspirin"},
            effectivePeriod={"start": "2010", "end": "2012"},
            dateAsserted="2024-03-01T08:00:00Z",
            informationSource={"reference": "Patient/p1"},
            **SUBJECT,
        )
    )
    assert start.available_at == end.available_at == at("2024-03-01T08:00")
    assert {start.origin, end.origin} == {Origin.PATIENT_REPORTED}


def _one(kind: str, **elements: Any) -> Event:
    return event_of(resource(kind, **elements))


def test_a_procedure_is_known_when_it_is_over_and_one_not_done_is_refuted() -> None:
    period = {"start": "2024-03-01T08:00:00Z", "end": "2024-03-01T10:00:00Z"}
    done = _one(
        "Procedure", status="completed", code={"text": "x"}, performedPeriod=period, **SUBJECT
    )
    assert done.available_at == at("2024-03-01T10:00")
    undone = _one("Procedure", status="not-done", code={"text": "x"}, **SUBJECT)
    assert undone.standing is Standing.REFUTED


def test_the_other_kinds_say_what_they_are_and_from_when_they_were_known() -> None:
    day, written = "2024-03-01T08:00:00Z", "2024-03-02T08:00:00Z"
    report = _one(
        "DiagnosticReport",
        status="final",
        code=concept(LOINC, "57698-3"),
        effectiveDateTime=day,
        issued=written,
        conclusion="words",
        conclusionCode=[concept(SNOMED, "1")],
        **SUBJECT,
    )
    assert (report.value, report.available_at) == (
        Code(CodeSystem.SNOMED_CT, "1"),
        at(written[:-1]),
    )
    vaccine = _one(
        "Immunization",
        status="completed",
        vaccineCode=concept("http://hl7.org/fhir/sid/cvx", "140"),
        occurrenceDateTime=day,
        recorded=written,
        **PATIENT,
    )
    assert (vaccine.code.key, vaccine.available_at) == ("CVX|140", at(written[:-1]))
    allergy = _one(
        "AllergyIntolerance",
        code=concept(SNOMED, "300913006"),
        criticality="high",
        category=["food"],
        recordedDate=written,
        **PATIENT,
    )
    assert (allergy.value, allergy.category) == ("high", "food")
    order = _one(
        "ServiceRequest",
        status="active",
        intent="order",
        code={"text": "x-ray"},
        authoredOn=day,
        occurrenceDateTime="2030-01-01",
        **SUBJECT,
    )
    assert (order.role, order.available_at) == (Role.ACTION, at(day[:-1]))
    document = _one(
        "DocumentReference",
        status="current",
        docStatus="preliminary",
        type=concept(LOINC, "34133-9"),
        date=written,
        content=[{"attachment": {"data": "c2VjcmV0"}}],
        **SUBJECT,
    )
    assert (document.standing, document.value) == (Standing.TENTATIVE, None)
    assert "c2VjcmV0" not in repr(document)


def test_a_care_plan_ends_when_its_period_does() -> None:
    start, end = events_of(
        resource(
            "CarePlan",
            status="completed",
            intent="order",
            title="Rest",
            created="2024-03-01",
            period={"start": "2024-03-01", "end": "2024-04-01"},
            **SUBJECT,
        )
    )
    assert (start.code.value, start.status, end.status) == ("Rest", "", "completed")
    assert end.available_at > at("2024-04-01")


def test_the_encounter_of_a_fact_is_resolved_and_an_unknown_one_counted() -> None:
    encounter = resource("Encounter", status="planned", **{"class": {"code": "AMB"}}, **SUBJECT)
    inside = observation(encounter={"reference": "urn:uuid:r1"})
    _, event = records.in_both_lanes(records.bundle(encounter, inside)).events
    assert event.encounter == "Encounter/r1"
    reading = records.read(observation(encounter={"reference": "urn:uuid:nobody"}))
    assert reading.events[0].encounter == ""
    assert reading.counts["unresolved_reference:encounter"] == 1


@pytest.mark.parametrize(
    "reference",
    ["Patient/p1", "http://ehr.example/fhir/Patient/p1", "Patient/p1/_history/4", "urn:uuid:p1"],
)
def test_a_patient_is_the_same_however_it_is_referred_to(reference: str) -> None:
    patient = resource("Patient") | {"id": "p1"}
    body = records.bundle(patient, observation(subject={"reference": reference}))
    reading = records.in_both_lanes(body)
    assert {event.patient_id for event in reading.events} == {PatientRef("north", "p1").patient_id}
    assert list(reading.patients.values()) == [PatientRef("north", "p1")]


def test_of_several_terminologies_the_preferred_one_names_the_fact() -> None:
    coding = [
        {"system": "http://local", "code": "1"},
        {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "E11.9"},
        {"system": SNOMED, "code": "44054006"},
    ]
    event = event_of(condition(code={"coding": coding}))
    assert event.code.key == "SNOMED-CT|44054006"
    assert [code.value for code in event.other_codes] == ["E11.9", "1"]
    assert event.flags == frozenset()
