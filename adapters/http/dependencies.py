"""What the web face needs from outside, as values, ports and callables; assembly joins them.

Knows the shapes of what it is given. Does not know who implements them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from adapters.http.cds_site import CdsDoor
from adapters.http.proofs import Shown
from adapters.operations.figures import OperatingFigures
from adapters.operations.health import HealthLimits
from clinical.errors import RejectedError
from clinical.prediction.prediction import ModelFingerprint
from clinical.review.writeback import WriteBack
from clinical.services.access import AccessService
from clinical.services.audit import AuditService
from clinical.services.disclosure import DisclosureService
from clinical.services.intake import Intake
from clinical.services.ledger import LedgerService
from clinical.services.planning import PlanningService
from clinical.services.ports import Clock, Identities, OpenUnitOfWork
from clinical.services.ports.disclosures import AuditedAct
from clinical.services.recall import RecallService
from clinical.services.review import ReviewService
from clinical.services.shedding import SheddingService
from clinical.services.similar import SimilarService
from clinical.timeline.event import Event
from clinical.timeline.patient import PatientRef


class VerifySignature(Protocol):
    """Checks the signature of one site over the body as received."""

    def __call__(self, headers: Mapping[str, str], body: bytes) -> None:
        """Return if genuine and fresh; raises a RejectedError of the verifier's own otherwise."""
        ...


class VerifyNotification(Protocol):
    """Checks the proof of one subscription over a notification as received."""

    def __call__(self, shown: Shown) -> bool:
        """Return if genuine, whether it is a handshake with a secret; raises a RejectedError otherwise."""
        ...


class Callback(Protocol):
    """What a Nabla callback says of itself."""

    @property
    def request_uuid(self) -> str: ...
    @property
    def type(self) -> str: ...


class CoreEvent(Protocol):
    """What a webhook of Nabla Core says of itself."""

    @property
    def id(self) -> str: ...


def _no_core_event(_body: bytes) -> CoreEvent:
    raise RejectedError("no webhook of Nabla Core is known")


class KnownClinician(Protocol):
    """Who somebody turned out to be."""

    @property
    def name(self) -> str: ...
    @property
    def display_name(self) -> str: ...
    @property
    def role(self) -> str: ...


class Clinicians(Protocol):
    """The local accounts."""

    def verify(self, name: str, password: str) -> KnownClinician | None:
        """The clinician of this name and password, or None; takes as long either way."""
        ...


class FhirShapes(Protocol):
    """How what we expose looks as FHIR R4."""

    def audit_event(self, act: AuditedAct, *, shows_patients: bool) -> dict[str, Any]: ...

    def told(self, write_back: WriteBack) -> Mapping[str, dict[str, Any]]:
        """The resources that tell of a decided prediction, by type."""
        ...

    def device(self, model: ModelFingerprint) -> dict[str, Any]: ...

    def patient(self, patient: PatientRef) -> dict[str, Any]: ...

    def capability(self, base_url: str) -> dict[str, Any]: ...


class StaticFacts(Protocol):
    """Birth and sex of several patients at once, without reading their timelines."""

    def __call__(self, patient_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[Event]]: ...


class Operating(Protocol):
    """What waits and who is at work, and where the schema stands; raises StorageUnavailableError."""

    def figures(self) -> OperatingFigures: ...

    def schema(self) -> tuple[str | None, str | None]:
        """The revision of the database, and the newest that the code knows."""
        ...

    def trace_of_review(self, review_id: UUID) -> str:
        """The traceparent of the work that made the review's prediction; empty where none is kept."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is refused, and how much is returned."""

    max_webhook_bytes: int = 10 * 1024 * 1024
    max_webhooks_at_once: int = 24
    max_marks: int = 2100
    session_length: timedelta = timedelta(hours=8)
    failed_sign_ins: int = 5
    failed_sign_in_window: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebDependencies:
    """Everything the web face is given. Verifiers are by site: a site without one has no such door.

    `free_disk` says how many bytes are free where the data folder is; `registry` holds measures of
    what was made before the app. `cds` answers CDS Hooks. `census` counts what is stored, by name, for the
    metrics. `parse_callback` raises a RejectedError where the bytes are no callback, `parse_core_event`
    where they are no webhook of Core. `public_keys` are JWKs. `model_fingerprint` raises
    ModelUnavailableError. `bearer` says for whom an access token speaks at a moment. `public_url` is
    where others reach this service, without a slash at its end; empty: as each of them did.
    """

    open_unit_of_work: OpenUnitOfWork
    intake: Intake
    reviews: ReviewService
    recalls: RecallService
    planning: PlanningService
    similar: SimilarService
    access: AccessService
    audit: AuditService
    ledger: LedgerService
    shedding: SheddingService
    clock: Clock
    identities: Identities
    clinicians: Clinicians
    bearer: Callable[[str, datetime], KnownClinician | None]
    disclosures: DisclosureService
    shapes: FhirShapes
    session_key: bytes
    fhir_verifiers: Mapping[str, VerifySignature]
    nabla_verifiers: Mapping[str, VerifySignature]
    parse_callback: Callable[[bytes], Callback]
    callback_types: frozenset[str]
    static_facts: StaticFacts
    census: Callable[[], Mapping[str, int]]
    model_fingerprint: Callable[[], ModelFingerprint]
    operating: Operating
    free_disk: Callable[[], int]
    limits: Limits
    public_url: str = ""
    nabla_core_verifiers: Mapping[str, VerifySignature] = field(default_factory=dict)
    parse_core_event: Callable[[bytes], CoreEvent] = _no_core_event
    health_limits: HealthLimits = field(default_factory=HealthLimits)
    cds: CdsDoor | None = None
    notification_verifiers: Mapping[tuple[str, str], VerifyNotification] = field(
        default_factory=dict
    )
    """By site and name of the subscription."""
    public_keys: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)


async def given_dependencies(request: Request) -> WebDependencies:
    given: Any = request.app.state.dependencies
    assert isinstance(given, WebDependencies)
    return given


Given = Annotated[WebDependencies, Depends(given_dependencies)]
