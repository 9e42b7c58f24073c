"""A Nabla organisation: what it may send us, and how we ask it.

The facts behind the defaults: hosts by region, a dated version that is pinned by a header, OAuth
clients that differ between the two products, a documented window of 60 seconds for signatures.
"""

import re
from typing import Literal

from msgspec import Struct, field
from typing_extensions import override

from adapters.sites.peers import Breaker, Limits
from adapters.sites.secret import Secret

_VERSION = re.compile(r"^20\d\d-[01]\d-[0-3]\d$")
_SLOW = 600.0  # generate-normalized-data may take so long

ConnectCategory = Literal[
    "CHIEF_COMPLAINT",
    "HISTORY_OF_PRESENT_ILLNESS",
    "PAST_HISTORY",
    "CURRENT_MEDICATIONS",
    "VITALS",
    "IMMUNIZATIONS",
    "ASSESSMENT_AND_PLAN",
    "EXAMINATION",
    "RESULTS",
    "PRESCRIPTIONS",
    "APPOINTMENTS",
    "null",
]
SectionKey = Literal[
    "ALLERGIES",
    "APPOINTMENTS",
    "ASSESSMENT",
    "ASSESSMENT_AND_PLAN",
    "CARDIOVASCULAR_RISK_FACTORS",
    "CHIEF_COMPLAINT",
    "CURRENT_MEDICATIONS",
    "DIAGNOSTIC_TESTS_ORDERED",
    "FAMILY_HISTORY",
    "FOOD_HABITS",
    "HISTORY_OF_PRESENT_COMPLAINT",
    "HISTORY_OF_PRESENT_ILLNESS",
    "IMAGING_RESULTS",
    "IMMUNIZATIONS",
    "LAB_RESULTS",
    "LIFESTYLE",
    "MENTAL_HEALTH_EXAM",
    "MENTAL_HEALTH_HISTORY",
    "OBJECTIVE",
    "OBJECTIVES_AND_ADVICE",
    "PAST_MEDICAL_HISTORY",
    "PAST_OBSTETRIC_HISTORY",
    "PAST_SURGICAL_HISTORY",
    "PHYSICAL_EXAM",
    "PLAN",
    "PRESCRIPTION",
    "SOCIAL_HISTORY",
    "SUBJECTIVE",
    "VITALS",
    "WELL_CHILD_CARE",
]
Locale = Literal["ENGLISH_US", "ENGLISH_UK", "FRENCH_FR"]


class _Product(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both products have. `base_url` empty: Nabla's own, by region.

    `client_id` is the UUID of our OAuth client; its public key or JWKS address is registered there.
    """

    client_id: str
    api_version: str
    base_url: str = ""
    allows_plain_http: bool = False
    limits: Limits = field(default_factory=Limits)
    breaker: Breaker = field(default_factory=Breaker)

    def __post_init__(self) -> None:
        """A version is a date: what is asked and understood is chosen by comparing it."""
        if not _VERSION.match(self.api_version):
            raise ValueError("api_version: a date as in 2026-02-20")
        if not self.client_id:
            raise ValueError("client_id: the id of our OAuth client is required")


class Connect(_Product, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nabla Connect's server API: encounters are opened in it, and users."""

    api_version: str = "2026-03-23"


class Core(_Product, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nabla Core's server API: a note that came by Connect is sent to it and comes back coded.

    `template` is the note template that the site uses there. `section_keys` adds to, or changes, the
    keys under which a note's categories are sent; a category without a key is not sent. The
    asynchronous way is only known of the API for users, so it needs the id of one, `user_id`.
    """

    locale: Locale
    template: str
    api_version: str = "2026-02-20"
    is_async: bool = False
    user_id: str = ""
    section_keys: dict[ConnectCategory, SectionKey] = {}
    limits: Limits = field(default_factory=lambda: Limits(timeout_seconds=_SLOW))

    @override
    def __post_init__(self) -> None:
        """As for any product; the asynchronous way is younger than the other."""
        super().__post_init__()
        if self.is_async and self.api_version < "2026-07-01":
            raise ValueError("is_async: needs api_version 2026-07-01 or later")
        if self.is_async and not self.user_id:
            raise ValueError("is_async: needs user_id, the id of a Nabla user")


class Nabla(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One organisation. A part that is not there is off.

    `core_webhook_secrets` are those with which Core signs its webhooks, several while they rotate.
    `accepted_bearers`: where there are any, a Connect callback must carry one of them besides its
    signature. `window_seconds`: how old, or early, a signature's time stamp may be.
    """

    region: Literal["us", "eu"]
    connect: Connect | None = None
    core: Core | None = None
    core_webhook_secrets: tuple[Secret, ...] = ()
    accepted_bearers: tuple[Secret, ...] = ()
    window_seconds: float = 60.0

    def __post_init__(self) -> None:
        """A window that lets nothing through is a mistake."""
        if self.window_seconds <= 0:
            raise ValueError("window_seconds: must be more than nothing")
