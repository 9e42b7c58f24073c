"""What answering CDS Hooks takes: the sites that are asked, and the services behind the answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from adapters.http.cds_requests import PATIENT
from adapters.http.cds_tokens import TokenCheck
from clinical.services.cards import CardService
from clinical.services.intake import Intake
from clinical.services.planning import DraftOrder, PlanningService
from clinical.timeline.patient import PatientRef

ReadOrders = Callable[[bytes, PatientRef, datetime], Sequence[DraftOrder]]
"""The drafts of a Bundle about this patient; raises a RejectedError that names what is no FHIR."""

PREFETCH = {PATIENT: "Patient/{{context.patientId}}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CardStyle:
    """How a site wants its cards. From these calibrated risks on they warn; None: never."""

    public_url: str
    warning_from: float | None = None
    critical_from: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CdsSite:
    """A site whose EHR asks. `public_url` is where it finds this service, without a slash at the end.

    `fhir_server` is the only one that a call may name; empty: none is looked at. `prefetch` is what
    every service asks for, always the Patient under `patient`.
    """

    public_url: str
    check: TokenCheck
    fhir_server: str = ""
    prefetch: Mapping[str, str] = field(default_factory=lambda: dict(PREFETCH))
    warning_from: float | None = None
    critical_from: float | None = None
    shows_silence: bool = True
    takes_prefetch: bool = True

    @property
    def style(self) -> CardStyle:
        """How its cards look."""
        return CardStyle(
            public_url=self.public_url,
            warning_from=self.warning_from,
            critical_from=self.critical_from,
        )

    def audience(self, path: str) -> str:
        """The address that a token must be for: by what is configured, not by what the caller says."""
        return self.public_url + path


@dataclass(frozen=True, slots=True, kw_only=True)
class CdsDoor:
    """Sites by name, and what answers them. A comparison that takes longer is not waited for."""

    sites: Mapping[str, CdsSite]
    cards: CardService
    intake: Intake
    planning: PlanningService
    read_orders: ReadOrders
    compare_seconds: float = 0.3
    max_calls_at_once: int = 48
