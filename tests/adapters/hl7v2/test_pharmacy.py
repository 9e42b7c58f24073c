"""Orders, what was given, and vaccines."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from clinical.services.delivery import Reading
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Phase, Standing
from clinical.timeline.quantity import Quantity
from clinical.timeline.timeline import Timeline
from tests.adapters.hl7v2.messages import PID, message, read, reasons

ORC = "ORC|NW|O1^EHR|F1^PHARM||||||20240531080000-0400"
RXE = "RXE||197361^Amlodipine^RXNORM|5||mg"


def rxa(
    status: str = "CP", action: str = "A", end: str = "", code: str = "1719^Furosemide^RXNORM"
) -> str:
    fields = [
        "RXA",
        "0",
        "1",
        "20240531090000-0400",
        end,
        code,
        "20",
        "mg",
        *[""] * 12,
        status,
        action,
    ]
    return "|".join(fields)


def one(reading: Reading) -> Event:
    assert not reading.quarantined
    (event,) = reading.events
    return event


def test_an_order_is_known_when_it_was_authored() -> None:
    event = one(read(message("RDE^O11", PID, ORC, RXE)))
    assert event.kind is EventKind.MEDICATION_REQUEST
    assert event.code == Code(CodeSystem.RXNORM, "197361", "Amlodipine")
    assert event.value == Quantity(Decimal(5), "mg", "mg")
    assert event.available_at == datetime(2024, 5, 31, 12, tzinfo=UTC)
    assert event.source.record_id == "placer:EHR:O1"


def test_a_number_of_the_senders_own_list_is_no_unit() -> None:
    event = one(read(message("RDE^O11", PID, ORC, RXE.replace("|mg", "|43^mg/h"))))
    assert event.value == Quantity(Decimal(5), "mg/h", "43")


def test_a_cancelled_order_is_withdrawn_and_a_stopped_one_still_was_an_order() -> None:
    ordered = read(message("RDE^O11", PID, ORC, RXE)).events
    at = "20240601080000-0400"
    cancelled = read(message("RDE^O11", PID, ORC.replace("NW", "CA"), RXE, at=at, control_id="M2"))
    assert len(Timeline.of(ordered[0].patient_id, [*ordered, *cancelled.events])) == 0
    stopped = read(message("RDE^O11", PID, ORC.replace("NW", "DC"), RXE, at=at, control_id="M2"))
    assert not stopped.events
    assert stopped.counts["skipped:ORC-1 DC"] == 1


def test_what_was_given_is_known_from_when_it_was_told() -> None:
    event = one(read(message("RAS^O17", PID, ORC, rxa())))
    assert event.kind is EventKind.MEDICATION_ADMINISTRATION
    assert event.occurred_at is not None
    assert event.occurred_at.earliest == datetime(2024, 5, 31, 13, tzinfo=UTC)
    assert event.available_at == datetime(2024, 6, 1, 11, tzinfo=UTC)
    assert event.source.record_id == "filler:PHARM:F1:1"


def test_an_infusion_has_a_start_and_its_dose_at_its_end() -> None:
    start, end = read(message("RAS^O17", PID, ORC, rxa(end="20240531110000-0400"))).events
    assert (start.phase, start.value) == (Phase.START, None)
    assert (end.phase, end.value) == (Phase.END, Quantity(Decimal(20), "mg", "mg"))


@pytest.mark.parametrize("status", ["RE", "NA"])
def test_what_was_refused_or_not_given_is_a_fact_of_not(status: str) -> None:
    event = one(read(message("RAS^O17", PID, ORC, rxa(status))))
    assert (event.standing, event.value) == (Standing.REFUTED, None)


def test_what_is_deleted_is_withdrawn() -> None:
    assert one(read(message("RAS^O17", PID, ORC, rxa(action="D")))).standing is Standing.RETRACTED


def test_a_vaccine_is_an_immunization_and_none_given_is_none() -> None:
    event = one(read(message("VXU^V04", PID, ORC, rxa(code="140^Influenza^CVX"))))
    assert (event.kind, event.code.system) == (EventKind.IMMUNIZATION, CodeSystem.CVX)
    none = read(message("VXU^V04", PID, ORC, rxa(code="998^No vaccine^CVX")))
    assert not none.events
    assert none.counts["skipped:no vaccine given"] == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (message("RAS^O17", PID, "ORC|RE", rxa()), "hl7v2.missing_order_number"),
        (message("RAS^O17", PID, ORC, rxa("??")), "hl7v2.unknown_status"),
        (message("RAS^O17", PID, ORC, rxa(end="20240501")), "hl7v2.visit_reversed"),
        (message("RDE^O11", PID, ORC, RXE.replace("|5|", "|five|")), "hl7v2.malformed_value"),
        (message("RDE^O11", PID, PID, ORC, RXE), "hl7v2.ambiguous_patient"),
    ],
)
def test_what_cannot_be_understood_is_set_aside_by_name(body: bytes, reason: str) -> None:
    assert [code for _, code in reasons(read(body))] == [reason]
