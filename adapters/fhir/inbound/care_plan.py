"""CarePlan: its start and its end; the single activities are not read."""

from typing import Literal

from adapters.fhir.datatypes import CodeableConcept, Coding, Period, Reference, Text, closed
from adapters.fhir.inbound.lasting import lasting_events
from adapters.fhir.inbound.medication_request import order_standing
from adapters.fhir.record import Record
from adapters.fhir.resource import Resource
from clinical.timeline.event import Event, EventKind, Standing

_STANDING = {"draft": Standing.TENTATIVE, "entered-in-error": Standing.RETRACTED}
_PLANS = frozenset({"proposal", "option"})  # "plan" is what a care plan is
_CARE_PLAN = CodeableConcept(
    coding=[Coding(system="http://snomed.info/sct", code="734163000", display="Care plan")]
)
_CLOSED = frozenset({"revoked", "completed"})


@closed(
    "identifier instantiatesCanonical instantiatesUri basedOn replaces partOf description author "
    "contributor careTeam addresses supportingInfo goal activity note _status _intent _title "
    "_description _created _instantiatesCanonical _instantiatesUri",
    tag="CarePlan",
)
class CarePlan(Resource, kw_only=True, gc=False):
    """How care is intended to go."""

    status: Literal[
        "draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"
    ]
    intent: Literal["proposal", "plan", "order", "option"]
    category: list[CodeableConcept] | None = None
    title: Text | None = None
    subject: Reference
    encounter: Reference | None = None
    period: Period | None = None
    created: Text | None = None


def to_events(plan: CarePlan, record: Record) -> list[Event]:
    """The first category is the code, or else the title, or else that it is a care plan."""
    record.about(plan.subject)
    record.during(plan.encounter)
    record.standing = order_standing(_STANDING.get(plan.status), plan.intent in _PLANS, None)
    created_at = record.known(plan.created, "created")
    if record.standing is Standing.RETRACTED:
        created_at = record.revised(created_at)
    start, end = record.ends(plan.period, "period")
    titled = CodeableConcept(text=plan.title) if plan.title else None
    return lasting_events(
        record,
        EventKind.CARE_PLAN,
        record.first_codes((*(plan.category or ()), titled, _CARE_PLAN), "category"),
        ends=(start or record.time(plan.created, "created"), end),
        recorded_at=created_at if start is not None else None,
        is_over=end is not None or plan.status in _CLOSED,
        status=plan.status,
    )
