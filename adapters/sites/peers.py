"""How an outside system is called: where it is, how we prove who we are, and what we put up with."""

from typing import Literal

from msgspec import Struct, field

from adapters.sites.secret import Secret


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What we put up with from one outside system."""

    timeout_seconds: float = 15.0
    max_answer_bytes: int = 64 * 1024 * 1024
    max_answer_seconds: float = 0.0
    """How long one answer may take to its end; 0: twenty timeouts, at least a minute."""
    max_pause_seconds: float = 3600.0
    """Whoever asks us to stay away longer (`Retry-After`) is asked again after this."""


class Breaker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """After so many failures in a row nobody asks for so long; then one call tries."""

    max_failures: int = 5
    pause_seconds: float = 30.0


class SmartBackend(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag="smart_backend",
    tag_field="kind",
):
    """SMART Backend Services: a signed assertion for a short-lived token.

    `token_url` empty: what `.well-known/smart-configuration` says, if it is on a registered host.
    """

    client_id: str
    scopes: tuple[str, ...]
    token_url: str = ""
    algorithm: Literal["RS384", "ES384"] = "RS384"
    sends_jku: bool = False


class HeaderToken(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="header", tag_field="kind"
):
    """A fixed header, such as `Authorization`, with its whole value."""

    name: str
    value: Secret


Auth = SmartBackend | HeaderToken


class Fhir(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The FHIR server of a site. `also` are further origins that it may send us to, such as bulk files."""

    base_url: str
    auth: Auth | None = None
    also: tuple[str, ...] = ()
    allows_plain_http: bool = False
    limits: Limits = field(default_factory=Limits)
    breaker: Breaker = field(default_factory=Breaker)
