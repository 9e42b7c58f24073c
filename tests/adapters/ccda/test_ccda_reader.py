"""C-CDA: versions of one document replace each other, absence is no fact, and nothing dangerous is opened."""

import hashlib
import logging
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from clinical.services.delivery import Reading
from clinical.timeline.event import Event, EventKind, Standing
from clinical.timeline.patient import PatientRef
from clinical.timeline.timeline import Timeline
from tests.adapters.ccda.documents import (
    RECEIVED,
    ROOT,
    allergy,
    delivery,
    document,
    medication,
    problem,
    read,
    reader,
    result,
    section,
)

PATIENT = PatientRef("north", "p1").patient_id
NEGATED = 'negationInd="true"'
PENICILLIN = 'code="7980" codeSystem="2.16.840.1.113883.6.88" displayName="Penicillin G"'


def of(reading: Reading, kind: EventKind) -> list[Event]:
    return [event for event in reading.events if event.kind is kind]


def reasons(reading: Reading) -> list[str]:
    return [each.reason_code for each in reading.quarantined]


def test_every_event_is_a_part_of_the_document_as_received() -> None:
    body = document(section("problems", problem()), section("results", result()))
    reading = read(body)
    assert not reading.quarantined
    assert {event.patient_id for event in reading.events} == {PATIENT}
    assert reading.patients[PATIENT] == PatientRef("north", "p1")
    sources = {event.source for event in reading.events}
    assert len(sources) == 1
    (source,) = sources
    assert (source.record_type, source.record_id, source.version) == (
        "ClinicalDocument",
        "9.9:set1",
        "1",
    )
    assert source.digest == hashlib.sha256(body).hexdigest()
    assert source.updated_at == datetime(2024, 6, 1, 12, tzinfo=UTC)
    assert len({event.part for event in reading.events}) == len(reading.events)


def test_the_same_document_gives_the_same_events_at_each_conversion() -> None:
    body = document(section("problems", problem()), section("results", result()))
    again = reader().read(delivery(body))
    assert read(body).events == again.events


def test_a_newer_version_replaces_the_whole_document_also_what_it_no_longer_says() -> None:
    first = document(section("problems", problem(), problem(number=2)))
    made = '<effectiveTime value="20240601180000+0000"/>'
    second = document(section("problems", problem(onset="20210101")), version=2, made=made)
    events = [event for body in (first, second) for event in read(body).events]
    whole = Timeline.of(PATIENT, events)
    (standing,) = [event for event in whole if event.kind is EventKind.CONDITION]
    assert standing.occurred_at is not None
    assert standing.occurred_at.text == "2021-01-01"
    before = whole.cut(datetime(2024, 6, 1, 15, tzinfo=UTC))
    assert sum(event.kind is EventKind.CONDITION for event in before) == 2


def test_a_document_without_a_set_id_is_named_by_its_own() -> None:
    (event, *_) = read(document(section("problems", problem()), set_id="")).events
    assert event.source.record_id == "9.9:doc1"


def test_a_time_of_day_without_its_zone_is_cut_to_a_date() -> None:
    reading = read(document(section("results", result("202405301030"))))
    glucose = next(event for event in reading.events if event.code.value == "2345-7")
    assert glucose.occurred_at is not None
    assert glucose.occurred_at.text == "2024-05-30"


@pytest.mark.parametrize(
    "made", ["", '<effectiveTime nullFlavor="UNK"/>', '<effectiveTime value="20240601"/>']
)
def test_a_document_that_does_not_say_when_it_was_made_is_not_said_to_be_made_now(
    made: str,
) -> None:
    for event in read(document(section("problems", problem()), made=made)).events:
        assert event.source.updated_at in (None, RECEIVED)
        assert event.available_at <= RECEIVED


def test_no_known_allergies_are_no_allergy() -> None:
    reading = read(document(section("allergies", allergy('nullFlavor="NA"', NEGATED))))
    (event,) = of(reading, EventKind.ALLERGY)
    assert event.code.value == "716186003"
    assert event.standing is Standing.REFUTED


def test_no_allergy_to_one_substance_is_left_out_by_name() -> None:
    reading = read(document(section("allergies", allergy(PENICILLIN, NEGATED))))
    assert not of(reading, EventKind.ALLERGY)
    assert reasons(reading) == ["ccda.negated"]
    (stated,) = of(read(document(section("allergies", allergy(PENICILLIN)))), EventKind.ALLERGY)
    assert stated.standing is Standing.ASSERTED


def test_no_known_problems_and_a_problem_that_is_denied_are_no_problems() -> None:
    unknown = 'code="55607006" codeSystem="2.16.840.1.113883.6.96" displayName="Problem"'
    for entry in (problem(unknown, negated=NEGATED), problem(negated=NEGATED)):
        (event,) = of(read(document(section("problems", entry))), EventKind.CONDITION)
        assert event.standing is Standing.REFUTED


def test_a_problem_that_is_null_is_set_aside_and_no_words_are_made_up_for_it() -> None:
    reading = read(document(section("problems", problem('nullFlavor="UNK"'))))
    assert not of(reading, EventKind.CONDITION)
    assert reasons(reading)


def test_a_medication_or_a_result_that_is_denied_is_left_out_by_name() -> None:
    """The converter overlooks negationInd there and would tell the opposite."""
    reading = read(
        document(
            section("medications", medication(NEGATED)), section("results", result(negated=NEGATED))
        )
    )
    assert not of(reading, EventKind.MEDICATION_STATEMENT)
    assert not any(event.code.value == "2345-7" for event in reading.events)
    assert reasons(reading) == ["ccda.negated"] * 2
    assert of(read(document(section("medications", medication()))), EventKind.MEDICATION_STATEMENT)


BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><ClinicalDocument xmlns="urn:hl7-org:v3"><title>&c;</title></ClinicalDocument>"""
EXTERNAL = """<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<ClinicalDocument xmlns="urn:hl7-org:v3"><title>&x;</title></ClinicalDocument>"""
DTD = '<!DOCTYPE d SYSTEM "http://127.0.0.1:1/d.dtd"><ClinicalDocument xmlns="urn:hl7-org:v3"/>'
ONE_ROLE = f'<id root="{ROOT}" extension="p1"/>'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (BOMB.encode(), "ccda.doctype"),
        (EXTERNAL.encode(), "ccda.doctype"),
        (DTD.encode(), "ccda.doctype"),
        (b"", "ccda.not_xml"),
        (b"\x00\xff", "ccda.not_xml"),
        (document()[:1500], "ccda.not_xml"),
        (b"<a>" * 100_000, "ccda.not_xml"),
        (b"<html/>", "ccda.not_a_document"),
        (document(patients='<id root="4.4" extension="999"/>'), "ccda.missing_patient"),
        (document(patients='<id nullFlavor="UNK"/>'), "ccda.missing_patient"),
        (document(patients=ONE_ROLE + ONE_ROLE.replace("p1", "p2")), "ccda.ambiguous_patient"),
        (
            document(patients=ONE_ROLE).replace(
                b"<author>", b"<recordTarget><patientRole/></recordTarget><author>", 1
            ),
            "ccda.ambiguous_patient",
        ),
        (document(made='<effectiveTime value="20240231"/>'), "ccda.impossible_time"),
        (
            document(set_id="").replace(
                b'<id root="9.9" extension="doc1"/>', b'<id nullFlavor="UNK"/>'
            ),
            "ccda.missing_id",
        ),
        (
            document().replace(b"<author>", b"<x>").replace(b"</author>", b"</x>"),
            "ccda.unconvertible",
        ),
    ],
)
def test_what_cannot_be_understood_is_quarantined_by_name(body: bytes, reason: str) -> None:
    reading = read(body)
    assert reasons(reading) == [reason]
    assert not reading.events


def test_a_site_without_rules_keeps_its_documents_in_quarantine() -> None:
    reading = reader().read(replace(delivery(document()), site="south"))
    assert reasons(reading) == ["ccda.no_rules"]


def test_the_converter_says_nothing_aloud(capfd: pytest.CaptureFixture[str]) -> None:
    """Its lines hold ids and values of the document."""
    heard: list[logging.LogRecord] = []
    ours = logging.Handler(logging.DEBUG)
    ours.emit = heard.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(ours)
    try:
        read(
            document(section("problems", problem(), problem()), section("results", result("2024")))
        )
    finally:
        logging.getLogger().removeHandler(ours)
    assert capfd.readouterr() == ("", "")
    assert not heard


def test_a_document_in_another_encoding_is_read_as_it_declares() -> None:
    body = document(section("problems", problem())).decode().replace("UTF-8", "ISO-8859-1")
    body = body.replace('displayName="Diabetes"', 'displayName="Diabète"')
    reading = read(body.encode("latin-1"))
    (event,) = of(reading, EventKind.CONDITION)
    assert event.code.display == "Diabète"


def test_a_document_made_after_it_came_keeps_the_moment_that_it_states() -> None:
    made = '<effectiveTime value="20300601120000+0000"/>'
    reading = read(document(section("problems", problem()), made=made))
    assert reading.events[0].source.updated_at == datetime(2030, 6, 1, 12, tzinfo=UTC)
