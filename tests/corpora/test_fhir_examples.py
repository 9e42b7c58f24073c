"""Every official example ends as events, on the written list, or aside for a reason that stands here."""

from collections import Counter
from functools import cache
from typing import NamedTuple

import pytest

from adapters.fhir import kinds
from adapters.fhir.reader import NO_RECORD, BulkReader
from adapters.fhir.release import RESOURCE_TYPES
from adapters.fhir.scope import NOT_READ_YET, WITHOUT_EVENTS
from clinical.services.delivery import Reading
from clinical.timeline.event import Flag, Standing
from tests.adapters.fhir import records
from tests.corpora.examples import CORPORA, examples, types_in

SET_ASIDE = {
    # The subject is named by an identifier only: whose it is cannot be told without a look-up.
    "Bundle-bundle-references.json": {"fhir.logical_reference": 1},
    # A deletion names no patient.
    "Bundle-bundle-transaction.json": {"fhir.deletion_not_read": 1},
    # Results without a subject; that they are of the report's patient would be a guess.
    "Bundle-ghp.json": {"fhir.missing_patient": 3},
    "Bundle-report.json": {"fhir.missing_patient": 13},
    # The subject is contained: it has no identity outside this one record.
    "Observation-10minute-apgar-score.json": {"fhir.logical_reference": 1},
    "Observation-1minute-apgar-score.json": {"fhir.logical_reference": 1},
    "Observation-20minute-apgar-score.json": {"fhir.logical_reference": 1},
    "Observation-2minute-apgar-score.json": {"fhir.logical_reference": 1},
    "Observation-5minute-apgar-score.json": {"fhir.logical_reference": 1},
    # The subject is a herd.
    "Observation-herd1.json": {"fhir.subject_not_patient": 1},
    # What was done stands in the narrative alone.
    "Procedure-appendectomy-narrative.json": {"fhir.missing_code": 1},
    # Nobody is named, or only by words to read.
    "DiagnosticReport-gingival-mass.json": {"fhir.missing_patient": 1},
    "Observation-decimal.json": {"fhir.missing_patient": 1},
    "Observation-vp-oyster.json": {"fhir.missing_patient": 1},
    "Procedure-education.json": {"fhir.missing_patient": 1},
    "Procedure-ob.json": {"fhir.missing_patient": 1},
    "ServiceRequest-appendectomy-narrative.json": {"fhir.missing_patient": 1},
    "ServiceRequest-education.json": {"fhir.missing_patient": 1},
    "ServiceRequest-ob.json": {"fhir.missing_patient": 1},
}


class Ends(NamedTuple):
    """How many files and resources there were, and how the resources ended."""

    files: int
    resources: int
    read: int
    events: int
    without_events: int
    set_aside: int


COUNTED = {
    "fhir-r4-examples": Ends(
        files=694, resources=2550, read=814, events=866, without_events=1704, set_aside=32
    ),
    "us-core-examples": Ends(
        files=230, resources=236, read=188, events=201, without_events=48, set_aside=0
    ),
}


@cache
def readings(corpus: str) -> dict[str, tuple[bytes, Reading]]:
    """Each file with what both lanes read of it; where they differ, this fails."""
    return {name: (body, records.in_both_lanes(body)) for name, body in examples(corpus)}


def family(reading: Reading, name: str) -> Counter[str]:
    prefix = f"{name}:"
    found = {k.removeprefix(prefix): n for k, n in reading.counts.items() if k.startswith(prefix)}
    return Counter(found)


def test_the_written_list_and_what_is_read_are_all_types_of_r4_and_none_twice() -> None:
    read = {kind.__name__ for kind in kinds.READ} | {"Medication", "Bundle"}
    assert read | set(WITHOUT_EVENTS) == RESOURCE_TYPES
    assert read & set(WITHOUT_EVENTS) == set()
    not_yet = {name for name, reason in WITHOUT_EVENTS.items() if reason == NOT_READ_YET}
    assert len(not_yet) == 9


@pytest.mark.parametrize("corpus", CORPORA)
def test_every_resource_of_every_example_has_one_of_three_ends(corpus: str) -> None:
    """Alike in both lanes; what ends without events is of a type on the written list."""
    for name, (body, reading) in readings(corpus).items():
        without = family(reading, "skipped")
        without.pop(NO_RECORD, None)
        set_aside = Counter(each.record_type for each in reading.quarantined if each.record_type)
        assert family(reading, "record") + without + set_aside == Counter(types_in(body)), name
        assert set(without) <= set(WITHOUT_EVENTS) | {"Medication"}, name


@pytest.mark.parametrize("corpus", CORPORA)
def test_what_is_set_aside_is_what_is_listed_here(corpus: str) -> None:
    found = {
        name: dict(Counter(each.reason_code for each in reading.quarantined))
        for name, (_, reading) in readings(corpus).items()
        if reading.quarantined
    }
    assert found == (SET_ASIDE if corpus == "fhir-r4-examples" else {})


@pytest.mark.parametrize("corpus", CORPORA)
def test_the_ends_are_counted(corpus: str) -> None:
    every = readings(corpus).values()
    without = sum(
        n
        for _, reading in every
        for what, n in family(reading, "skipped").items()
        if what != NO_RECORD
    )
    assert COUNTED[corpus] == Ends(
        files=len(every),
        resources=sum(len(list(types_in(body))) for body, _ in every),
        read=sum(family(reading, "record").total() for _, reading in every),
        events=sum(len(reading.events) for _, reading in every),
        without_events=without,
        set_aside=sum(
            1 for _, reading in every for each in reading.quarantined if each.record_type
        ),
    )


def test_every_type_that_is_read_is_among_the_examples() -> None:
    found: Counter[str] = Counter()
    for corpus in CORPORA:
        for _, reading in readings(corpus).values():
            found += family(reading, "record")
    assert set(found) == {kind.__name__ for kind in kinds.READ}


def test_us_core_says_why_a_value_is_absent_and_which_category_a_result_is_of() -> None:
    events = [
        event
        for _, reading in readings("us-core-examples").values()
        for event in reading.events
        if event.source.record_type == "Observation"
    ]
    absent = [event for event in events if event.absent_reason]
    assert absent
    assert all(event.value is None and Flag.VALUE_ABSENT in event.flags for event in absent)
    categories = {event.category for event in events}
    assert {"vital-signs", "laboratory", "social-history", "survey"} <= categories


def test_an_example_entered_in_error_is_withdrawn() -> None:
    standings = {
        event.standing
        for corpus in CORPORA
        for _, reading in readings(corpus).values()
        for event in reading.events
        if event.status == "entered-in-error"
    }
    assert standings == {Standing.RETRACTED}


def test_no_reader_looks_at_a_medication_as_if_it_were_one_of_its_ingredients() -> None:
    """A mixture without a code of its own is called by all that is in it, in words."""
    (event,) = readings("fhir-r4-examples")["MedicationRequest-medrx0322.json"][1].events
    assert event.code.key == "text|Potassium Chloride + Sodium Chloride 0.9% injectable solution"
    assert event.flags == {Flag.UNMAPPED_CODE}


def test_the_answer_to_a_batch_of_searches_is_opened() -> None:
    name = "Bundle-bundle-response-medsallergies.json"
    body, reading = readings("fhir-r4-examples")[name]
    assert reading.quarantined == []
    nested = BulkReader().read(
        records.delivery(b'{"resourceType":"Bundle","entry":[{"resource":' + body + b"}]}")
    )
    assert [event.event_id for event in nested.events] == [
        event.event_id for event in reading.events
    ]
