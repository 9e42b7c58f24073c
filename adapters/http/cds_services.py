"""Which services there are for an EHR to call, and what each is said to do."""

from dataclasses import dataclass

from adapters.http.cds_schemas import Hook


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceKind:
    """A service: which hooks it answers, and what it is said to do."""

    service_id: str
    title: str
    description: str
    usage: str
    hooks: tuple[Hook, ...]


SERVICES = {
    kind.service_id: kind
    for kind in (
        ServiceKind(
            service_id="forecast",
            title="Forecast for review",
            description="Shows the newest stored forecast of the patient's course, for review by a clinician.",
            usage="Answers from what is stored; a patient that is not known here gets no forecast yet.",
            hooks=(Hook.PATIENT_VIEW, Hook.ENCOUNTER_START, Hook.ENCOUNTER_DISCHARGE),
        ),
        ServiceKind(
            service_id="forecast-with-orders",
            title="Forecast with and without draft orders",
            description="Shows the course foretold among similar patients with the draft orders and without them.",
            usage="Proposes no order. Drafts that the model never learned are named and left out.",
            hooks=(Hook.ORDER_SELECT, Hook.ORDER_SIGN),
        ),
    )
}
