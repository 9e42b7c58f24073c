"""ADT: visits begin, end and are taken back; two records turn out to be one person."""

from datetime import UTC, datetime

import pytest

from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Phase, Standing
from clinical.timeline.patient import PatientRef
from clinical.timeline.timeline import Timeline
from tests.adapters.hl7v2.messages import PID, SITE, message, read, reasons

ADMITTED, DISCHARGED = "20240530080000-0400", "20240601060000-0400"


def pv1(
    start: str = ADMITTED,
    end: str = "",
    kind: str = "I",
    visit: str = "v1^^^VN",
    disposition: str = "",
) -> str:
    fields = ["PV1", "1", kind] + [""] * 43
    fields[19], fields[36], fields[44], fields[45] = visit, disposition, start, end
    return "|".join(fields)


def adt(
    trigger: str, *segments: str, at: str = "20240601070000-0400", evn: str = "", pid: str = PID
) -> bytes:
    return message(
        f"ADT^{trigger}", f"EVN|{trigger}|{evn}", pid, *segments, control_id=f"{trigger}{at}", at=at
    )


ADMIT = adt("A01", pv1(), at="20240530080500-0400")
DISCHARGE = adt("A03", pv1(end=DISCHARGED, disposition="01"), at="20240601060100-0400")
PATIENT = PatientRef(SITE, "p1").patient_id


def visits(*bodies: bytes) -> list[Event]:
    events = [event for body in bodies for event in read(body).events]
    return [e for e in Timeline.of(PATIENT, events) if e.kind is EventKind.ENCOUNTER]


def test_an_admission_is_the_start_of_a_visit_and_says_who_the_patient_is() -> None:
    reading = read(ADMIT)
    assert not reading.quarantined
    person, start = reading.events
    assert person.kind is EventKind.PATIENT
    assert person.code == Code(CodeSystem.GENDER, "female")
    assert person.occurred_at is not None
    assert person.occurred_at.text == "19600203"
    assert (start.kind, start.phase) == (EventKind.ENCOUNTER, Phase.START)
    assert start.code == Code(CodeSystem.ACT, "IMP")
    assert start.occurred_at is not None
    assert start.occurred_at.earliest == datetime(2024, 5, 30, 12, tzinfo=UTC)
    assert start.available_at == datetime(2024, 5, 30, 12, 5, tzinfo=UTC)
    assert (start.source.record_type, start.source.record_id) == ("V2Visit", "v1")
    assert start.patient_id == PATIENT


@pytest.mark.parametrize("trigger", ["A01", "A02", "A04", "A06", "A07", "A08", "A12"])
def test_whatever_tells_of_a_visit_tells_of_its_start(trigger: str) -> None:
    (start,) = visits(adt(trigger, pv1()))
    assert start.phase is Phase.START


def test_a_discharge_is_the_end_with_where_the_patient_went() -> None:
    start, end = visits(ADMIT, DISCHARGE)
    assert (start.phase, end.phase) == (Phase.START, Phase.END)
    assert end.value == Code("http://terminology.hl7.org/CodeSystem/v2-0112", "01")
    assert start.encounter == end.encounter == "V2Visit/v1"


def test_a_later_message_that_is_silent_about_the_end_does_not_take_it_back() -> None:
    later = adt("A08", pv1(start=""), at="20240601064500-0400")
    assert [event.phase for event in visits(ADMIT, DISCHARGE, later)] == [Phase.START, Phase.END]


def test_a_cancelled_admission_is_withdrawn_not_erased() -> None:
    cancelled = adt("A11", pv1(), at="20240530090000-0400")
    assert visits(ADMIT, cancelled) == []
    events = [event for body in (ADMIT, cancelled) for event in read(body).events]
    before = Timeline.of(PATIENT, events).cut(datetime(2024, 5, 30, 12, 30, tzinfo=UTC))
    assert [event.kind for event in before if event.kind is EventKind.ENCOUNTER] == [
        EventKind.ENCOUNTER
    ]


def test_a_cancelled_discharge_leaves_the_visit_open() -> None:
    cancelled = adt("A13", pv1(), at="20240601061500-0400")
    (start,) = visits(ADMIT, DISCHARGE, cancelled)
    assert start.phase is Phase.START


def test_an_admission_after_its_cancellation_stands_again() -> None:
    cancelled = adt("A11", pv1(), at="20240530090000-0400")
    again = adt("A01", pv1(start="20240530100000-0400"), at="20240530100100-0400")
    (start,) = visits(ADMIT, cancelled, again)
    assert start.standing is Standing.ASSERTED


def test_an_admission_without_its_time_happened_when_the_event_did_or_is_undated() -> None:
    body = adt("A01", pv1(start="")).replace(
        b"EVN|A01|", b"EVN|A01|20240530081000-0400||||20240530080000-0400"
    )
    (start,) = visits(body)
    assert start.occurred_at is not None
    assert start.occurred_at.earliest == datetime(2024, 5, 30, 12, tzinfo=UTC)
    (undated,) = visits(adt("A01", pv1(start="")))
    assert undated.occurred_at is None
    assert undated.available_at == datetime(2024, 6, 1, 11, tzinfo=UTC)


@pytest.mark.parametrize("at", ["", "20240601030000-0400"])
def test_a_death_is_told_with_its_time_or_from_when_it_was_told(at: str) -> None:
    pid = "|".join([PID, *[""] * 20, at, "Y"])  # PID-8 is the last field that PID has: 29 and 30
    (death,) = [e for e in read(adt("A08", pv1(), pid=pid)).events if e.kind is EventKind.DEATH]
    assert (death.occurred_at is None) == (at == "")
    assert death.available_at == datetime(2024, 6, 1, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (adt("A01", pv1(), pid=PID.replace("MRN", "ELSE")), "hl7v2.missing_patient"),
        (
            adt("A01", pv1(), pid=PID.replace("999^^^SSA^SS", "p2^^^MRN^MR")),
            "hl7v2.ambiguous_patient",
        ),
        (adt("A01", pv1(visit="")), "hl7v2.missing_visit"),
        (adt("A01"), "hl7v2.missing_visit"),
        (adt("A01", pv1(kind="")), "hl7v2.missing_code"),
        (adt("A01", pv1(start="20240231")), "hl7v2.impossible_time"),
        (adt("A03", pv1(end="20240101")), "hl7v2.visit_reversed"),
        (message("ADT^A01", "EVN|A01"), "hl7v2.missing_segment"),
        (adt("A24"), "hl7v2.event_not_read"),
        (adt("A47", "MRG|p2^^^MRN"), "hl7v2.event_not_read"),
        (message("ZZZ^Z01"), "hl7v2.event_not_read"),
        (message("ADT^A40", PID), "hl7v2.missing_segment"),
        (message("ADT^A40", PID, "MRG|p1^^^MRN"), "hl7v2.self_merge"),
        (message("ADT^A40", PID, "MRG|p2^^^ELSE"), "hl7v2.missing_patient"),
        (message("ADT^A01", at="20240231"), "hl7v2.impossible_time"),
        (message("ADT^A01").replace(b"|GHH|", b"|ELSE|"), "hl7v2.unknown_sender"),
        (b"FHS|^~\\&|", "hl7v2.not_hl7"),
        (b"", "hl7v2.not_hl7"),
    ],
)
def test_what_cannot_be_understood_is_quarantined_by_name(body: bytes, reason: str) -> None:
    reading = read(body)
    assert [code for _, code in reasons(reading)] == [reason]
    assert not reading.merged


def test_no_reason_repeats_what_the_message_says() -> None:
    reading = read(adt("A01", pv1(), pid=PID.replace("MRN", "ELSE")))
    assert not {"p1", "Doe", "ELSE"} & set(reading.quarantined[0].detail.split())


def test_a_merge_names_who_is_gone_and_who_is_kept() -> None:
    second = PID.replace("p1", "p3")
    reading = read(message("ADT^A40", PID, "MRG|p2^^^MRN^MR", second, "MRG|p4^^^MRN^MR"))
    assert [(each.gone, each.kept) for each in reading.merged] == [("p2", "p1"), ("p4", "p3")]
    assert reading.merged[0].source.updated_at == datetime(2024, 6, 1, 11, tzinfo=UTC)
    assert not reading.events
    # The bytes name all of them: whoever erases one of them must find this delivery.
    assert {ref.record_id for ref in reading.patients.values()} == {"p1", "p2", "p3", "p4"}


def test_one_of_several_merges_that_cannot_be_told_keeps_none() -> None:
    reading = read(message("ADT^A40", PID, "MRG|p2^^^MRN", PID, "MRG|p4^^^ELSE"))
    assert not reading.merged
    assert len(reading.quarantined) == 1


def test_a_type_of_identifier_in_the_rules_decides_between_two_of_one_authority() -> None:
    pid = PID.replace("999^^^SSA^SS", "p2^^^MRN^PI")
    assert reasons(read(adt("A08", pid=pid))) == [("", "hl7v2.ambiguous_patient")]
    reading = read(adt("A08", pv1(), pid=pid), patient_type="MR")
    assert {ref.record_id for ref in reading.patients.values()} == {"p1"}


def test_an_authority_may_be_known_by_its_universal_id() -> None:
    pid = PID.replace("MRN", "&2.16.840.1.1&ISO")
    reading = read(adt("A08", pv1(), pid=pid), patient_authority="2.16.840.1.1")
    assert {ref.record_id for ref in reading.patients.values()} == {"p1"}


def test_an_identifier_without_authority_is_ours_only_where_the_rules_say_so() -> None:
    pid = PID.replace("^^^MRN^MR", "")
    assert reasons(read(adt("A08", pv1(), pid=pid))) == [("", "hl7v2.missing_patient")]
    assert not read(adt("A08", pv1(), pid=pid), patient_authority="").quarantined


def test_facts_beside_the_visit_that_are_not_read_are_counted() -> None:
    reading = read(adt("A01", pv1(), "DG1|1||I21^AMI^I10", "AL1|1|DA|P^Penicillin"))
    assert reading.counts["skipped:DG1 in ADT"] == reading.counts["skipped:AL1 in ADT"] == 1


def test_a_visit_number_with_separators_is_fit_for_a_reference() -> None:
    (start,) = visits(adt("A01", pv1(visit="24/17 B")))
    assert start.encounter == "V2Visit/24%2F17%20B"


def test_news_of_the_person_alone_needs_no_visit() -> None:
    (person,) = read(adt("A31")).events
    assert person.kind is EventKind.PATIENT
