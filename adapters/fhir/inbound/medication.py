"""Which medication a request, an administration or a statement is about, and how much of it."""

import msgspec
from msgspec import Raw, Struct

from adapters.fhir import codes
from adapters.fhir.datatypes import UNREAD, CodeableConcept, Quantity, Range, Reference, closed
from adapters.fhir.errors import Reason, RecordError
from adapters.fhir.record import Record, only_one
from adapters.fhir.resource import Resource
from clinical.timeline.code import Code
from clinical.timeline.event import EventValue


@closed("id extension modifierExtension itemReference isActive strength _isActive")
class Ingredient(Struct, kw_only=True, gc=False):
    """One of the things that a product is made of."""

    itemCodeableConcept: CodeableConcept | None = None  # noqa: N815 - FHIR's spelling


@closed(
    "identifier manufacturer form amount batch _status status",
    tag="Medication",
)
class Medication(Resource, kw_only=True, gc=False):
    """A product; it carries no event, and names what others refer to."""

    code: CodeableConcept | None = None
    ingredient: list[Ingredient] | None = None


class _Contained(Struct, kw_only=True, gc=False):
    """What must be known of a contained resource to find a medication among them."""

    resourceType: str  # noqa: N815 - FHIR's spelling
    id: str = ""
    code: CodeableConcept | None = None
    ingredient: list[Ingredient] | None = None


def product(stated: "Medication | _Contained") -> CodeableConcept | None:
    """What the product is called; one that is made up and has no code is called by its ingredients.

    The name of a mixture is words only: the code of one ingredient would claim that it is that alone.
    """
    if stated.code is not None and codes.codes_of(stated.code):
        return stated.code
    words = [
        code[0].display or code[0].value
        for each in stated.ingredient or ()
        if each.itemCodeableConcept and (code := codes.codes_of(each.itemCodeableConcept))
    ]
    if not words or len(words) < len(stated.ingredient or ()):
        return stated.code
    return CodeableConcept(text=" + ".join(words))


@closed("id extension type rateRatio rateRange rateQuantity")
class DoseAndRate(Struct, kw_only=True, gc=False):
    """How much at once."""

    doseQuantity: Quantity | None = None  # noqa: N815
    doseRange: Range | None = None  # noqa: N815


@closed(
    "id extension sequence text additionalInstruction patientInstruction timing asNeededBoolean "
    "asNeededCodeableConcept site route method maxDosePerPeriod maxDosePerAdministration "
    "maxDosePerLifetime _sequence _text _patientInstruction _asNeededBoolean"
)
class Dosage(Struct, kw_only=True, gc=False):
    """How it is to be taken; only the dose is read."""

    modifierExtension: Raw = UNREAD  # noqa: N815
    doseAndRate: list[DoseAndRate] | None = None  # noqa: N815


class Medicated(Resource, kw_only=True, gc=False):
    """`medication[x]`."""

    medicationCodeableConcept: CodeableConcept | None = None  # noqa: N815
    medicationReference: Reference | None = None  # noqa: N815


def medication_codes(stated: Medicated, record: Record) -> tuple[Code, ...]:
    """The codes of the medication, through a contained or delivered Medication where it is referred to.

    A Medication that is nowhere in the delivery is named by its own reference, kept and counted.

    Raises:
        RecordError: two medications are stated, or none.
    """
    reference = stated.medicationReference
    only_one("medication[x]", stated.medicationCodeableConcept, reference)
    if reference is None or reference.reference is None:
        words = CodeableConcept(text=reference.display) if reference else None
        return record.first_codes((stated.medicationCodeableConcept, words), "medication[x]")
    if reference.reference.startswith("#"):
        return record.codes(_contained(stated, reference.reference[1:]), "medicationReference")
    target = record.scene.target_of(reference.reference, "medicationReference")
    concept = record.scene.medications.get(target)
    if concept is not None:
        return record.codes(concept, "medicationReference")
    record.scene.count("unresolved_reference:medication")
    return (Code(target[0], target[1], reference.display or ""),)


def dose(dosages: list[Dosage] | None, record: Record, path: str) -> EventValue:
    """The first dose that is stated as an amount or a range.

    Raises:
        RecordError: the dosage carries a modifier extension.
    """
    for dosage in dosages or ():
        if dosage.modifierExtension:
            raise RecordError(Reason.UNKNOWN_MODIFIER, f"{path}.modifierExtension: not understood")
        for one in dosage.doseAndRate or ():
            only_one(f"{path}.doseAndRate.dose[x]", one.doseQuantity, one.doseRange)
            if one.doseQuantity is not None:
                return record.quantity(one.doseQuantity, f"{path}.doseAndRate.doseQuantity")
            if one.doseRange is not None:
                return record.range(one.doseRange, f"{path}.doseAndRate.doseRange")
    return None


_CONTAINED = msgspec.json.Decoder(_Contained)


def _contained(resource: Resource, wanted: str) -> CodeableConcept | None:
    for raw in resource.contained or ():
        found = _CONTAINED.decode(raw)
        if found.id == wanted and found.resourceType == "Medication":
            return product(found)
    raise RecordError(
        Reason.UNRESOLVED_REFERENCE, "medicationReference: no contained Medication has this id"
    )
