"""Draft orders as the actions that they would be: which are understood, and which are only named."""

import json
from decimal import Decimal
from typing import Any

import pytest

from adapters.fhir.draft_orders import draft_orders
from adapters.fhir.errors import RecordError
from clinical.services.planning import DraftOrder
from clinical.timeline.event import EventKind
from clinical.timeline.patient import PatientRef
from tests.adapters.http.cds_stage import drafted, order
from tests.fakes import NOON

PATIENT = PatientRef("north", "p1")
SNOMED = {"coding": [{"system": "http://snomed.info/sct", "code": "428191000124101"}]}
SUBJECT = {"reference": "Patient/p1"}


def read(*orders: dict[str, Any]) -> list[DraftOrder]:
    bundle = json.dumps(drafted(*orders)["draftOrders"]).encode()
    return draft_orders(bundle, PATIENT, NOON)


def service(**changes: Any) -> dict[str, Any]:
    stated = {
        "resourceType": "ServiceRequest",
        "id": "s1",
        "status": "draft",
        "intent": "order",
        "code": SNOMED,
        "subject": SUBJECT,
    }
    return stated | changes


def test_a_medication_is_prescribed_now_in_its_dose() -> None:
    dose = {"doseAndRate": [{"doseQuantity": {"value": 10.5, "unit": "mg"}}]}
    [draft] = read(order("p1", dosageInstruction=[dose]))
    assert (draft.reference, draft.label) == ("MedicationRequest/draft-1", "Simvastatin 10 MG")
    assert draft.action is not None
    assert draft.action.kind is EventKind.MEDICATION_REQUEST
    assert draft.action.code.key == "RxNorm|316672"
    assert draft.action.dose is not None
    assert draft.action.dose.value == Decimal("10.5")
    assert not draft.action.after


def test_a_service_is_planned_as_the_procedure_that_it_orders() -> None:
    [draft] = read(service())
    assert draft.action is not None
    assert draft.action.kind is EventKind.PROCEDURE
    assert draft.label == "SNOMED-CT|428191000124101"


@pytest.mark.parametrize(
    "stated",
    [
        order("somebody-else"),
        order("p1", doNotPerform=True),
        service(status="entered-in-error"),
        order("p1", medicationCodeableConcept={}),
        {"resourceType": "NutritionOrder", "id": "n1", "status": "draft"},
        {
            "resourceType": "Observation",
            "id": "o1",
            "status": "final",
            "code": SNOMED,
            "subject": SUBJECT,
        },
    ],
)
def test_what_is_no_order_for_this_patient_is_named_and_not_understood(
    stated: dict[str, Any],
) -> None:
    [draft] = read(stated)
    assert draft.action is None
    assert draft.reference == f"{stated['resourceType']}/{stated['id']}"


def test_of_two_drafts_with_one_id_none_is_understood() -> None:
    assert [draft.action for draft in read(service(), service())] == [None, None]


@pytest.mark.parametrize(
    ("stated", "place"),
    [
        (order("p1", status="Xactive"), r"entry\[0\]: status"),
        (order("p1", unheard=1), r"entry\[0\]"),
        ({"id": "1"}, r"entry\[0\]"),
        ({"resourceType": "Nonsense", "id": "1"}, r"entry\[0\]"),
    ],
)
def test_what_is_no_fhir_is_refused_by_its_place(stated: dict[str, Any], place: str) -> None:
    with pytest.raises(RecordError, match=place):
        read(stated)


def test_a_bundle_without_entries_holds_no_draft() -> None:
    assert read() == []
