"""All 113 samples of HL7 v2 and C-CDA: turned into events, or on the list of what carries none, or set aside by name."""

import zipfile
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from uuid import UUID

import pytest

from adapters.ccda.reader import CcdaReader
from adapters.fhir.reader import StrictReader
from adapters.hl7v2.header import read_header
from adapters.hl7v2.reader import WITHOUT_EVENTS, Hl7v2Reader
from adapters.sites.hl7v2 import Ccda, Hl7v2, Hl7v2Sender
from clinical.services.delivery import Delivery, Door, Reading

ARCHIVE = Path(__file__).parents[1] / "golden" / "converter" / "hl7v2-ccda-samples.zip"
RECEIVED = datetime(2026, 1, 1, tzinfo=UTC)
# What the senders call the ids of their patients; nobody said it, so it was read off the messages.
AUTHORITIES = {
    ("ADTApp", "GHHSFacility"): "test1",
    ("ADT1", "GHHSFacility"): "ADT1",
    ("ADT1", "GOOD HEALTH HOSPITAL"): "ADT1",
    ("AccMgr", "1"): "1",
    ("NES", "NINTENDO"): "",
    ("Ntierprise", "Ntierprise Clinic"): "BCBS",
    ("SomeSystem", ""): "1",
    ("GHH LAB", "ELAB-3"): "",
    ("IA PHIMS Stage", "IA Public Health Lab"): "IA PHIMS Stage",
    ("IMMAPP", "GHHSFacility"): "test1",
    ("NISTEHRAPP", "NISTEHRFAC"): "NIST-MPI-1",
    ("Test EHR Application", "X68"): "NIST MPI",
}
ROOTS = {
    "C-CDA_R2-1_CCD.xml": "2.16.840.1.113883.4.1",
    "CCD-Parent-Document-Replace-C-CDAR2.1": "2.16.840.1.113883.4.1",
    "CDA_with_Embedded_PDF": "2.16.840.1.113883.4.823.1",
    "Consultation_Note": "2.16.840.1.113883.4.1",
    "Discharge_Summary": "2.16.840.1.113883.19.5.99999.2",
    "History_and_Physical": "2.16.840.1.113883.19.5.99999.2",
    "Operative_Note": "2.16.840.1.113883.19.5.99999.2",
    "PROBLEMS_in_Empty_C-CDA_2.1-C-CDAR2.1": "2.16.840.1.113883.4.1",
    "Patient-and-Provider-Organization-Direct-Address-C-CDAR2.1": "1.3.6.1.4.1.41179.2.4",
    "Referral_Note": "2.16.840.1.113883.4.1",
    "Unstructured_Document_reference": "2.16.840.1.113883.4.1",
    "sample": "2.16.840.1.113883.19",
}
# Set aside as a whole, each for the one reason named.
SET_ASIDE = {
    "ADT-A29-01.hl7": "hl7v2.event_not_read",  # a person is deleted
    "ADT-A29-02.hl7": "hl7v2.event_not_read",
    "ADT-A41-01.hl7": "hl7v2.event_not_read",  # accounts are merged
    "ADT-A45-01.hl7": "hl7v2.event_not_read",  # a visit moves to another patient
    "ADT-A45-02.hl7": "hl7v2.event_not_read",
    "ADT-A47-02.hl7": "hl7v2.event_not_read",  # an identifier changes
    "ADT01-28.hl7": "hl7v2.missing_visit",  # PV1-19 is empty
    "Patient-and-Provider-Organization-Direct-Address-C-CDAR2.1.ccda": "ccda.unconvertible",
}


@cache
def samples() -> dict[str, bytes]:
    with zipfile.ZipFile(ARCHIVE) as archive:
        return {
            Path(name).name: archive.read(name)
            for name in archive.namelist()
            if name.endswith((".hl7", ".ccda"))
        }


@cache
def reading(name: str) -> Reading:
    body = samples()[name]
    door = Door.HL7V2_FILE if name.endswith(".hl7") else Door.CCDA_FILE
    delivery = Delivery(
        delivery_id=UUID(int=1),
        site="s",
        door=door,
        sender_id=name,
        body=body,
        content_type="",
        received_at=RECEIVED,
    )
    if door is Door.CCDA_FILE:
        root = ROOTS[name.removesuffix(".ccda")]
        return CcdaReader({"s": Ccda(patient_root=root)}, StrictReader().read).read(delivery)
    header = read_header(body)
    sender = Hl7v2Sender(
        application=header.application,
        facility=header.facility,
        patient_authority=AUTHORITIES.get((header.application, header.facility), "nobody"),
        time_zone="America/New_York",
        processing_ids=("P", "T"),
    )
    return Hl7v2Reader({"s": Hl7v2(senders=(sender,))}).read(delivery)


@pytest.mark.parametrize("name", sorted(samples()))
def test_each_sample_becomes_events_or_is_set_aside_or_left_out_by_name(name: str) -> None:
    found = reading(name)
    if name in SET_ASIDE:
        assert [each.reason_code for each in found.quarantined] == [SET_ASIDE[name]]
        assert not found.events
        return
    skipped = [key.removeprefix("skipped:") for key in found.counts if key.startswith("skipped:")]
    kinds = {*skipped, *(each.split("^")[0] for each in skipped)}
    assert found.events or found.merged or kinds & set(WITHOUT_EVENTS)
    # Nothing of a sample that is read as a whole is lost without a word.
    assert all(each.reason_code and each.position for each in found.quarantined)


def test_the_count_of_all_samples() -> None:
    fates: Counter[str] = Counter()
    for name in samples():
        found = reading(name)
        kind = name.rpartition(".")[2]
        if name in SET_ASIDE:
            fates[f"{kind}: set aside"] += 1
        elif found.events:
            fates[f"{kind}: events"] += 1
        else:
            fates[f"{kind}: merge" if found.merged else f"{kind}: carries none"] += 1
    assert len(samples()) == 113
    assert fates == COUNTS


COUNTS = {
    "hl7: events": 30,
    "hl7: merge": 2,
    "hl7: carries none": 62,
    "hl7: set aside": 7,
    "ccda: events": 11,
    "ccda: set aside": 1,
}


def test_the_events_of_all_samples_are_counted_by_kind() -> None:
    kinds = Counter(event.kind.value for name in samples() for event in reading(name).events)
    assert kinds == EVENTS


EVENTS = {
    "allergy": 14,
    "condition": 22,
    "death": 14,
    "diagnostic_report": 7,
    "document": 14,
    "encounter": 34,
    "immunization": 20,
    "medication_request": 4,
    "medication_statement": 10,
    "observation": 92,
    "patient": 31,
    "procedure": 9,
    "service_request": 7,
}


def test_what_was_set_aside_of_all_samples_is_counted_by_reason() -> None:
    reasons = Counter(each.reason_code for name in samples() for each in reading(name).quarantined)
    assert reasons == REASONS


REASONS = {
    "hl7v2.event_not_read": 6,
    "hl7v2.missing_visit": 1,
    "hl7v2.missing_order_number": 2,  # of ORU-R01-01: results before any order
    "ccda.unconvertible": 1,
    "ccda.negated": 6,  # medications and care that are said not to be
    "ccda.not_converted": 11,
    "fhir.missing_code": 1,  # a problem whose code is null
    "fhir.period_reversed": 1,
}
