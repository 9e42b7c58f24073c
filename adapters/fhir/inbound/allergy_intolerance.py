"""AllergyIntolerance: its onset, and its end where it was resolved."""

from typing import Literal

from msgspec import Raw

from adapters.fhir.datatypes import UNREAD, CodeableConcept, Period, Reference, Text, closed
from adapters.fhir.inbound.condition import OVER, STANDING, status_word, undated
from adapters.fhir.inbound.lasting import lasting_events
from adapters.fhir.record import Record, only_one
from adapters.fhir.resource import Resource
from clinical.timeline.event import Event, EventKind, Standing
from clinical.timeline.time import ClinicalTime


@closed(
    "identifier type recorder asserter lastOccurrence note reaction _type _category _criticality "
    "_onsetDateTime _onsetString _recordedDate _lastOccurrence",
    tag="AllergyIntolerance",
)
class AllergyIntolerance(Resource, kw_only=True, gc=False):
    """A propensity to react, or the statement that none is known."""

    clinicalStatus: CodeableConcept | None = None  # noqa: N815 - FHIR's spelling
    verificationStatus: CodeableConcept | None = None  # noqa: N815
    category: list[Literal["food", "medication", "environment", "biologic"] | None] | None = None
    criticality: Literal["low", "high", "unable-to-assess"] | None = None
    code: CodeableConcept | None = None
    patient: Reference
    encounter: Reference | None = None
    onsetDateTime: Text | None = None  # noqa: N815
    onsetAge: Raw = UNREAD  # noqa: N815
    onsetPeriod: Period | None = None  # noqa: N815
    onsetRange: Raw = UNREAD  # noqa: N815
    onsetString: Text | None = None  # noqa: N815
    recordedDate: Text | None = None  # noqa: N815


def to_events(allergy: AllergyIntolerance, record: Record) -> list[Event]:
    """FHIR gives an allergy no end: that it is over is known from when the record was last changed."""
    record.about(allergy.patient, "patient")
    record.during(allergy.encounter)
    record.standing = STANDING.get(status_word(allergy.verificationStatus), Standing.ASSERTED)
    recorded_at = record.known(allergy.recordedDate, "recordedDate")
    if record.standing in {Standing.REFUTED, Standing.RETRACTED}:
        recorded_at = record.revised(recorded_at)
    status = status_word(allergy.clinicalStatus)
    return lasting_events(
        record,
        EventKind.ALLERGY,
        record.codes(allergy.code, "code"),
        ends=(_onset(allergy, record), None),
        recorded_at=recorded_at,
        is_over=status in OVER,
        start_value=allergy.criticality,
        status=status,
        category=next((word for word in allergy.category or () if word), ""),
    )


def _onset(allergy: AllergyIntolerance, record: Record) -> ClinicalTime | None:
    vague = undated(allergy.onsetAge, allergy.onsetRange, allergy.onsetString)
    only_one("onset[x]", allergy.onsetDateTime, allergy.onsetPeriod, *vague)
    if vague:
        record.scene.count("undated:AllergyIntolerance.onset")
    if allergy.onsetPeriod is not None:
        return record.period(allergy.onsetPeriod, "onsetPeriod")
    return record.time(allergy.onsetDateTime, "onsetDateTime")
