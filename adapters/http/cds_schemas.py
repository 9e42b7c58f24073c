"""What CDS Hooks 2.0 sends and takes, as shapes: discovery, calls, cards, feedback.

Calls are read leniently where the specification lets senders add to them (foreign members are
ignored), answers are made strictly: every card that we send has passed through these shapes.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

Text = Annotated[str, StringConstraints(min_length=1, strict=True)]
PatientId = Annotated[str, StringConstraints(pattern=r"^(Patient/)?[A-Za-z0-9\-.]{1,64}$")]
_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
# A patient named by type and id: nothing else has a selection or a userId to be.
Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{1,64}/[A-Za-z0-9\-.]{1,64}$")]
MAX_FEEDBACK = 200


class Hook(StrEnum):
    """The hooks that are answered."""

    PATIENT_VIEW = "patient-view"
    ENCOUNTER_START = "encounter-start"
    ENCOUNTER_DISCHARGE = "encounter-discharge"
    ORDER_SELECT = "order-select"
    ORDER_SIGN = "order-sign"


class Received(BaseModel):
    """What a client sends: members that are not known are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Said(BaseModel):
    """What is sent: nothing beyond the specification, and nothing empty (`null`, `""`, `[]`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="after")
    def _nothing_is_empty(self) -> "Said":
        for name in self.model_fields_set:
            value = getattr(self, name)
            if value is None or (value in ("", {}, []) and name not in ("cards", "services")):
                raise ValueError(f"{name}: a member that says nothing is left out")
        return self

    def wire(self) -> dict[str, Any]:
        """As JSON values, in the spelling of the specification, without what was not said."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class PatientContext(Received):
    """Whose record is open, before whom; of `patient-view`."""

    user_id: Text = Field(alias="userId")
    patient_id: PatientId = Field(alias="patientId")
    encounter_id: Text | None = Field(default=None, alias="encounterId")

    @property
    def record_id(self) -> str:
        """The EHR's id of the patient, however it was written."""
        return self.patient_id.removeprefix("Patient/")


class EncounterContext(PatientContext):
    """Of `encounter-start` and `encounter-discharge`."""

    encounter_id: Text = Field(alias="encounterId")


class DraftBundle(Received):
    """Orders that nobody has signed yet; the resources themselves are read elsewhere."""

    resource_type: Literal["Bundle"] = Field(alias="resourceType")
    entry: list[dict[str, Any]] = Field(default_factory=list, max_length=100)


class OrderContext(PatientContext):
    """Of `order-sign`."""

    draft_orders: DraftBundle = Field(alias="draftOrders")


class SelectContext(OrderContext):
    """Of `order-select`: which drafts were just selected, as `type/id`."""

    selections: Annotated[list[Reference], Field(max_length=100)]


CONTEXTS: dict[Hook, type[PatientContext]] = {
    Hook.PATIENT_VIEW: PatientContext,
    Hook.ENCOUNTER_START: EncounterContext,
    Hook.ENCOUNTER_DISCHARGE: EncounterContext,
    Hook.ORDER_SELECT: SelectContext,
    Hook.ORDER_SIGN: OrderContext,
}


class FhirAuthorization(Received):
    """A token for the EHR's FHIR server. It is checked for its shape, and neither kept nor used."""

    access_token: Text = Field(repr=False)
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Field(ge=0)]
    scope: str
    subject: Text


class HookCall(Received):
    """A call of a service, apart from its context and prefetch."""

    hook: Text
    hook_instance: Annotated[str, StringConstraints(pattern=_UUID)] = Field(alias="hookInstance")
    context: dict[str, Any]
    fhir_server: Text | None = Field(default=None, alias="fhirServer")
    fhir_authorization: FhirAuthorization | None = Field(default=None, alias="fhirAuthorization")
    prefetch: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _a_token_needs_a_server(self) -> "HookCall":
        if self.fhir_authorization is not None and self.fhir_server is None:
            raise ValueError("fhirServer: required with fhirAuthorization")
        return self


class Coding(Said):
    """A code of some system, in words."""

    code: Text
    system: Text | None = None
    display: Text


class Topic(Said):
    """What a card is about."""

    code: Text
    system: Text | None = None
    display: Text | None = None


class Source(Said):
    """Where what a card says comes from."""

    label: Text
    url: Text | None = None
    icon: Text | None = None
    topic: Topic | None = None


class Link(Said):
    """Where to read more."""

    label: Text
    url: Text
    type: Literal["absolute", "smart"]
    app_context: Text | None = Field(default=None, alias="appContext")
    autolaunchable: bool | None = None

    @model_validator(mode="after")
    def _context_is_for_apps(self) -> "Link":
        if self.app_context is not None and self.type != "smart":
            raise ValueError("appContext: only where the link is of type smart")
        return self


class SuggestedAction(Said):
    """What an EHR would do for a suggestion. We make none: this is for reading others'."""

    type: Literal["create", "update", "delete"]
    description: Text
    resource: dict[str, Any] | None = None
    resource_id: list[Text] | None = Field(default=None, alias="resourceId")
    extension: dict[str, Any] | None = None


class Suggestion(Said):
    """Something to be accepted with one click. We make none."""

    label: Text
    uuid: Text | None = None
    is_recommended: bool | None = Field(default=None, alias="isRecommended")
    actions: list[SuggestedAction] | None = None


class Card(Said):
    """One card."""

    uuid: UUID | None = None
    summary: Annotated[str, StringConstraints(min_length=1, max_length=139)]
    detail: Text | None = None
    indicator: Literal["info", "warning", "critical"]
    source: Source
    suggestions: list[Suggestion] | None = None
    selection_behavior: Literal["at-most-one", "any"] | None = Field(
        default=None, alias="selectionBehavior"
    )
    override_reasons: list[Coding] | None = Field(default=None, alias="overrideReasons")
    links: list[Link] | None = None
    extension: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _suggestions_say_how_many(self) -> "Card":
        if self.suggestions and self.selection_behavior is None:
            raise ValueError("selectionBehavior: required with suggestions")
        return self


class Cards(Said):
    """The answer to a call."""

    cards: list[Card]
    system_actions: list[SuggestedAction] | None = Field(default=None, alias="systemActions")
    extension: dict[str, Any] | None = None


class Service(Said):
    """One service for one hook, as discovery lists it."""

    hook: Text
    title: Text | None = None
    description: Text
    id: Text
    prefetch: dict[Text, Text] | None = None
    usage_requirements: Text | None = Field(default=None, alias="usageRequirements")
    extension: dict[str, Any] | None = None


class Discovery(Said):
    """What a site's services are."""

    services: list[Service]
    extension: dict[str, Any] | None = None


class FeedbackReason(Received):
    """Why a card was overridden: one of ours, or one of the EHR's."""

    code: Text
    system: str = ""
    display: str = ""


class OverrideReason(Received):
    """A coded reason, words, or both."""

    reason: FeedbackReason | None = None
    user_comment: Annotated[str, Field(max_length=4000)] = Field(default="", alias="userComment")


class AcceptedSuggestion(Received):
    """A suggestion that was taken; we make none, so one that is named is not ours."""

    id: Text


class FeedbackItem(Received):
    """What became of one card."""

    card: UUID
    outcome: Literal["accepted", "overridden"]
    accepted_suggestions: list[AcceptedSuggestion] = Field(
        default_factory=list, alias="acceptedSuggestions"
    )
    override_reason: OverrideReason = Field(default_factory=OverrideReason, alias="overrideReason")
    outcome_timestamp: AwareDatetime = Field(alias="outcomeTimestamp")


class Feedback(Received):
    """What became of cards."""

    feedback: Annotated[list[FeedbackItem], Field(min_length=1, max_length=MAX_FEEDBACK)]
