"""Condition: its onset, and its abatement where there was one."""

from msgspec import Raw

from adapters.fhir.datatypes import (
    UNREAD,
    CodeableConcept,
    Period,
    Reference,
    Text,
    closed,
)
from adapters.fhir.record import Record, first_code, only_one
from adapters.fhir.resource import Resource
from clinical.timeline.event import Event, EventKind, Phase, Standing
from clinical.timeline.time import ClinicalTime

STANDING = {
    "unconfirmed": Standing.TENTATIVE,
    "provisional": Standing.TENTATIVE,
    "differential": Standing.TENTATIVE,
    "presumed": Standing.TENTATIVE,
    "refuted": Standing.REFUTED,
    "entered-in-error": Standing.RETRACTED,
}
OVER = frozenset({"resolved", "inactive", "remission"})


@closed(
    "identifier bodySite recorder asserter stage evidence note _onsetDateTime _onsetString "
    "_abatementDateTime _abatementString _recordedDate",
    tag="Condition",
)
class Condition(Resource, kw_only=True, gc=False):
    """A problem, diagnosis or concern."""

    clinicalStatus: CodeableConcept | None = None  # noqa: N815 - FHIR's spelling
    verificationStatus: CodeableConcept | None = None  # noqa: N815
    category: list[CodeableConcept] | None = None
    severity: CodeableConcept | None = None
    code: CodeableConcept | None = None
    subject: Reference
    encounter: Reference | None = None
    onsetDateTime: Text | None = None  # noqa: N815
    onsetAge: Raw = UNREAD  # noqa: N815
    onsetPeriod: Period | None = None  # noqa: N815
    onsetRange: Raw = UNREAD  # noqa: N815
    onsetString: Text | None = None  # noqa: N815
    abatementDateTime: Text | None = None  # noqa: N815
    abatementAge: Raw = UNREAD  # noqa: N815
    abatementPeriod: Period | None = None  # noqa: N815
    abatementRange: Raw = UNREAD  # noqa: N815
    abatementString: Text | None = None  # noqa: N815
    recordedDate: Text | None = None  # noqa: N815


def to_events(condition: Condition, record: Record) -> list[Event]:
    """An onset given as an age, a range or words dates nothing: the fact counts from when it was recorded."""
    record.about(condition.subject)
    record.during(condition.encounter)
    verification = status_word(condition.verificationStatus)
    record.standing = STANDING.get(verification, Standing.ASSERTED)
    names = record.codes(condition.code, "code")
    recorded_at = record.known(condition.recordedDate, "recordedDate")
    if record.standing in {Standing.REFUTED, Standing.RETRACTED}:
        recorded_at = record.revised(recorded_at)
    status = status_word(condition.clinicalStatus)
    ended_at, is_over = _abatement(condition, record)
    is_over = is_over or status in OVER
    severity = record.optional_codes(condition.severity)
    category = first_code(condition.category)
    events = [
        record.event(
            EventKind.CONDITION,
            names,
            occurred_at=_onset(condition, record),
            recorded_at=recorded_at,
            part="start",
            phase=Phase.START,
            value=severity[0] if severity else None,
            status="" if is_over else status,
            category=category,
        )
    ]
    if is_over:
        events.append(
            record.end_event(
                EventKind.CONDITION,
                names,
                ended_at=ended_at,
                recorded_at=recorded_at,
                status=status,
                category=category,
            )
        )
    return events


def status_word(concept: CodeableConcept | None) -> str:
    """The sender's own word for a coded status."""
    return first_code([concept]) if concept is not None else ""


def undated(*values: Raw | str | None) -> list[Raw | str]:
    """Those of the values that are there: times in forms that date nothing."""
    return [value for value in values if value]


def _onset(condition: Condition, record: Record) -> ClinicalTime | None:
    vague = undated(condition.onsetAge, condition.onsetRange, condition.onsetString)
    only_one("onset[x]", condition.onsetDateTime, condition.onsetPeriod, *vague)
    if vague:
        record.scene.count("undated:Condition.onset")
    if condition.onsetPeriod is not None:
        return record.period(condition.onsetPeriod, "onsetPeriod")
    return record.time(condition.onsetDateTime, "onsetDateTime")


def _abatement(condition: Condition, record: Record) -> tuple[ClinicalTime | None, bool]:
    """When it ended, and whether it did; an end in words is an end without a date."""
    vague = undated(condition.abatementAge, condition.abatementRange, condition.abatementString)
    only_one("abatement[x]", condition.abatementDateTime, condition.abatementPeriod, *vague)
    if vague:
        record.scene.count("undated:Condition.abatement")
        return None, True
    if condition.abatementPeriod is not None:
        return record.period(condition.abatementPeriod, "abatementPeriod"), True
    ended_at = record.time(condition.abatementDateTime, "abatementDateTime")
    return ended_at, ended_at is not None
