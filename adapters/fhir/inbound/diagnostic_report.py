"""DiagnosticReport: one event; its results are Observations of their own, its prose is not read."""

from typing import Literal

from adapters.fhir.datatypes import CodeableConcept, Period, Reference, Text, closed
from adapters.fhir.inbound.observation import REVISED, STANDING
from adapters.fhir.record import Record, first_code, only_one
from adapters.fhir.resource import Resource
from clinical.timeline.event import Event, EventKind, Standing


@closed(
    "identifier basedOn performer resultsInterpreter specimen result imagingStudy media conclusion "
    "presentedForm _status _effectiveDateTime _issued _conclusion",
    tag="DiagnosticReport",
)
class DiagnosticReport(Resource, kw_only=True, gc=False):
    """Findings of an investigation."""

    status: Literal[
        "registered",
        "partial",
        "preliminary",
        "final",
        "amended",
        "corrected",
        "appended",
        "cancelled",
        "entered-in-error",
        "unknown",
    ]
    category: list[CodeableConcept] | None = None
    code: CodeableConcept
    subject: Reference | None = None
    encounter: Reference | None = None
    effectiveDateTime: Text | None = None  # noqa: N815 - FHIR's spelling
    effectivePeriod: Period | None = None  # noqa: N815
    issued: Text | None = None
    conclusionCode: list[CodeableConcept] | None = None  # noqa: N815


def to_events(report: DiagnosticReport, record: Record) -> list[Event]:
    """The first coded conclusion is the value."""
    record.about(report.subject)
    record.during(report.encounter)
    record.standing = STANDING.get(report.status, Standing.ASSERTED)
    only_one("effective[x]", report.effectiveDateTime, report.effectivePeriod)
    occurred_at = record.period(report.effectivePeriod, "effectivePeriod") or record.time(
        report.effectiveDateTime, "effectiveDateTime"
    )
    recorded_at = record.known(report.issued, "issued")
    if report.status in REVISED:
        recorded_at = record.revised(recorded_at)
    conclusions = [record.optional_codes(concept) for concept in report.conclusionCode or ()]
    return [
        record.event(
            EventKind.DIAGNOSTIC_REPORT,
            record.codes(report.code, "code"),
            occurred_at=occurred_at,
            recorded_at=recorded_at,
            value=conclusions[0][0] if conclusions and conclusions[0] else None,
            status=report.status,
            category=first_code(report.category),
        )
    ]
