"""ORU^R01: values, names, times, and what corrects or takes back what."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from adapters.hl7v2.movements import VISIT
from clinical.services.delivery import Reading
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventValue, Flag, Standing
from clinical.timeline.quantity import Comparator, Quantity, QuantityRange
from clinical.timeline.timeline import Timeline
from tests.adapters.hl7v2.messages import PID, message, read, reasons

PV1 = "PV1|1|I|||||||||||||||||v1^^^VN"
OBR = "OBR|1||F1^LAB|24323-8^Panel^LN|||20240601050000-0400|||||||||||||||20240601060000-0400||CH|F"


def oru(
    *obx: str, control_id: str = "M1", at: str = "20240601070000-0400", obr: str = OBR
) -> bytes:
    return message("ORU^R01^ORU_R01", PID, PV1, obr, *obx, control_id=control_id, at=at)


def obx(
    kind: str = "NM",
    value: str = "5.40",
    unit: str = "mmol/L",
    status: str = "F",
    name: str = "2345-7^Glucose^LN",
    sub_id: str = "",
    flags: str = "",
) -> str:
    return f"OBX|1|{kind}|{name}|{sub_id}|{value}|{unit}||{flags}|||{status}|||20240601050500-0400"


def one(reading: Reading) -> Event:
    assert not reading.quarantined
    (event,) = reading.events
    return event


def test_a_result_is_an_observation_with_all_that_it_says_of_itself() -> None:
    event = one(read(oru(obx(flags="H~A"))))
    assert event.code == Code(CodeSystem.LOINC, "2345-7", "Glucose")
    assert event.value == Quantity(Decimal("5.40"), "mmol/L", "mmol/L")
    assert event.occurred_at is not None
    assert event.occurred_at.earliest == datetime(2024, 6, 1, 9, 5, tzinfo=UTC)
    assert event.recorded_at == datetime(2024, 6, 1, 10, tzinfo=UTC)  # OBR-22
    assert event.available_at == event.recorded_at
    assert (event.category, event.status, event.encounter) == ("laboratory", "F", f"{VISIT}/v1")
    assert event.flags == {Flag.HIGH, Flag.ABNORMAL}
    source = event.source
    assert (source.record_type, source.record_id) == ("V2Result", "filler:LAB:F1:2345-7:")
    assert (source.version, source.updated_at) == ("M1", datetime(2024, 6, 1, 11, tzinfo=UTC))


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("SN", "^182", Quantity(Decimal(182), "mmol/L", "mmol/L")),
        ("SN", ">^100", Quantity(Decimal(100), "mmol/L", "mmol/L", Comparator.GREATER)),
        ("SN", "<=^0.1", Quantity(Decimal("0.1"), "mmol/L", "mmol/L", Comparator.LESS_OR_EQUAL)),
        (
            "SN",
            "^1^-^2",
            QuantityRange(
                Quantity(Decimal(1), "mmol/L", "mmol/L"), Quantity(Decimal(2), "mmol/L", "mmol/L")
            ),
        ),
        ("SN", "^1^:^128", "1:128"),
        ("SN", "^2^+", "2+"),
        ("CWE", "27268008^Salmonella^SCT", Code(CodeSystem.SNOMED_CT, "27268008", "Salmonella")),
        ("CE", "X^local^L~", Code("L", "X", "local")),
        ("ST", r"a\T\b", "a&b"),
        ("TX", "left^right", "left^right"),
        ("DT", "20240203", "20240203"),
        ("TM", "1130", "1130"),
    ],
)
def test_each_type_of_value_becomes_ours(kind: str, value: str, expected: EventValue) -> None:
    assert one(read(oru(obx(kind, value)))).value == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("NM", "about 5"),
        ("NM", "1e5"),
        ("NM", "9" * 50),
        ("SN", "<>^5"),
        ("SN", "~^x"),
        ("DT", "20240230"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_set_aside(kind: str, value: str) -> None:
    reading = read(oru(obx(kind, value), obx(name="2951-2^Sodium^LN")))
    assert len(reading.quarantined) == 1
    assert reading.quarantined[0].position == "OBX[1]"
    assert [event.code.value for event in reading.events] == ["2951-2"]


def test_a_unit_that_is_not_ucum_is_kept_flagged_and_counted() -> None:
    reading = read(oru(obx(unit="giga.l-1")))
    event = one(reading)
    assert event.value == Quantity(Decimal("5.40"), None, "giga.l-1")
    assert event.flags == {Flag.UNKNOWN_UNIT}
    assert reading.counts["unmapped_unit:giga.l-1"] == 1


def test_a_code_of_an_unknown_system_is_kept_under_its_name_flagged_and_counted() -> None:
    reading = read(oru(obx(name="GLU^Glucose^99LAB^15074-8^Glucose^LN")))
    event = one(reading)
    assert event.code == Code(CodeSystem.LOINC, "15074-8", "Glucose")
    assert event.other_codes == (Code("99LAB", "GLU", "Glucose"),)
    assert reading.counts["unmapped_system:99LAB"] == 1
    assert Flag.UNMAPPED_CODE in one(read(oru(obx(name="GLU^Glucose^99LAB")))).flags


def test_empty_and_null_values_are_absent_each_for_its_reason() -> None:
    reading = read(oru(obx(value=""), obx(value='""', sub_id="2")))
    assert [event.value for event in reading.events] == [None, None]
    assert [event.absent_reason for event in reading.events] == ["not stated", "null"]
    assert all(Flag.VALUE_ABSENT in event.flags for event in reading.events)


def timeline(*bodies: bytes) -> Timeline:
    events = [event for body in bodies for event in read(body).events]
    return Timeline.of(events[0].patient_id, events)


PRELIMINARY = oru(obx(value="5.0", status="P"))
FINAL = oru(obx(value="5.4"), control_id="M2", at="20240601073000-0400")
CORRECTED = oru(obx(value="4.5", status="C"), control_id="M3", at="20240601074500-0400")


def test_a_preliminary_result_is_tentative_until_the_final_one_takes_its_place() -> None:
    (tentative,) = timeline(PRELIMINARY)
    assert tentative.standing is Standing.TENTATIVE
    (final,) = timeline(PRELIMINARY, FINAL)
    assert (final.standing, final.status) == (Standing.ASSERTED, "F")


def test_a_correction_takes_the_place_of_the_result_from_when_it_was_sent() -> None:
    whole = timeline(PRELIMINARY, FINAL, CORRECTED)
    (now,) = whole
    assert now.value == Quantity(Decimal("4.5"), "mmol/L", "mmol/L")
    (before,) = whole.cut(datetime(2024, 6, 1, 11, 40, tzinfo=UTC))
    assert before.value == Quantity(Decimal("5.4"), "mmol/L", "mmol/L")
    assert whole.known_until == datetime(2024, 6, 1, 11, 45, tzinfo=UTC)


def test_messages_that_come_in_the_wrong_order_end_in_the_same_timeline() -> None:
    assert (
        timeline(CORRECTED, FINAL, PRELIMINARY).digest
        == timeline(PRELIMINARY, FINAL, CORRECTED).digest
    )


@pytest.mark.parametrize("status", ["D", "W", "X"])
def test_a_deleted_wrong_or_cancelled_result_is_withdrawn_not_erased(status: str) -> None:
    gone = oru(obx(value="", status=status), control_id="M4", at="20240601075000-0400")
    whole = timeline(FINAL, gone)
    assert len(whole) == 0
    assert len(whole.versions) == 2
    assert len(whole.cut(datetime(2024, 6, 1, 11, 40, tzinfo=UTC))) == 1


def test_another_sub_id_is_another_result() -> None:
    reading = read(oru(obx(sub_id="1"), obx(sub_id="2")))
    assert len({event.source.record_id for event in reading.events}) == 2


def test_results_of_one_name_in_one_message_stand_side_by_side() -> None:
    assert len(timeline(oru(obx(value="5.0"), obx(value="6.0"), obx("NM", "7.0~8.0")))) == 4


@pytest.mark.parametrize("status", ["I", "O", "N"])
def test_a_result_that_is_not_there_yet_is_no_event(status: str) -> None:
    reading = read(oru(obx(value="", status=status)))
    assert not reading.events
    assert reading.counts[f"skipped:OBX-11 {status}"] == 1


def test_a_status_without_its_result_and_an_unknown_status_are_set_aside() -> None:
    reading = read(oru(obx(value="", status="U"), obx(status="Q")))
    assert reasons(reading) == [
        ("OBX[1]", "hl7v2.status_without_result"),
        ("OBX[2]", "hl7v2.unknown_status"),
    ]


def test_what_is_not_called_final_is_not_taken_for_final() -> None:
    event = one(read(oru(obx(status=""), obr=OBR.removesuffix("|F"))))
    assert event.standing is Standing.TENTATIVE
    assert one(read(oru(obx(status="")))).standing is Standing.ASSERTED  # OBR-25 says so


def test_without_an_order_number_a_result_has_no_name() -> None:
    reading = read(oru(obx(), obr="OBR|1|||24323-8^Panel^LN"))
    assert reasons(reading) == [("OBX[1]", "hl7v2.missing_order_number")]


def test_the_placers_number_stands_in_for_the_fillers_and_orc_for_obr() -> None:
    placer = read(message("ORU^R01", PID, "ORC|RE|P1^EHR", "OBR|1|||X^Y^L", obx()))
    assert one(placer).source.record_id == "placer:EHR:P1:2345-7:"
    filler = read(message("ORU^R01", PID, "ORC|RE|P1|F2", "OBR|1|P1||X^Y^L", obx()))
    assert one(filler).source.record_id == "filler::F2:2345-7:"


def test_results_of_several_patients_go_each_to_their_own() -> None:
    other = PID.replace("p1", "p2")
    reading = read(message("ORU^R01", PID, OBR, obx(), other, OBR.replace("F1", "F2"), obx()))
    assert len({event.patient_id for event in reading.events}) == 2
    assert {ref.record_id for ref in reading.patients.values()} == {"p1", "p2"}


def test_a_patient_who_cannot_be_told_takes_no_result_from_another() -> None:
    stranger = PID.replace("MRN", "ELSE")
    reading = read(message("ORU^R01", PID, OBR, obx(), stranger, OBR, obx()))
    assert len(reading.events) == 1
    assert reasons(reading) == [
        ("PID[2]", "hl7v2.missing_patient"),
        ("OBX[2]", "hl7v2.missing_patient"),
    ]


def test_what_is_said_of_a_specimen_is_not_said_of_the_patient() -> None:
    reading = read(oru("SPM|1", obx()))
    assert not reading.events
    assert reading.counts["skipped:OBX of SPM"] == 1


def test_a_picture_is_counted_and_not_read() -> None:
    reading = read(oru(obx("ED", "^IM^PNG^Base64^xxxx")))
    assert not reading.events
    assert reading.counts["skipped:OBX-2 ED"] == 1


def test_times_without_a_zone_and_without_a_rule_keep_bounds() -> None:
    body = oru(obx().replace("050500-0400", "050500"))
    event = one(read(body, time_zone=""))
    assert event.occurred_at is not None
    assert (event.occurred_at.latest - event.occurred_at.earliest).total_seconds() == 26 * 3600
