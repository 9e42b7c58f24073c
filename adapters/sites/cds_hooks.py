"""Which clients of a site may call CDS Hooks, and what their cards look like. Off where it is not there."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Algorithm = Literal["ES384", "RS384", "ES256", "RS256"]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]


class CdsClient(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An EHR that calls. Its public keys are in `jwks_file`, or at `jwks_url` (https).

    `issuer` is the `iss` of its tokens. A token may name a `jku` only if it is this one, which is
    never fetched unless it is the `jwks_url`. `tenant` and `subject` are compared where they are set.
    """

    issuer: str
    jwks_file: str = ""
    jwks_url: str = ""
    jku: str = ""
    tenant: str = ""
    subject: str = ""
    algorithms: tuple[Algorithm, ...] = ("ES384", "RS384")
    allows_plain_http: bool = False

    def __post_init__(self) -> None:
        if not self.issuer or bool(self.jwks_file) == bool(self.jwks_url):
            raise ValueError("a client has an issuer, and either jwks_file or jwks_url")
        if not self.algorithms:
            raise ValueError("a client signs with some algorithm")


class CdsHooks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`public_url` is the address under which the EHR finds this service; tokens must be for it.

    Empty: that of the settings. Its base address is then `{public_url}/cds/{site}`. `prefetch` adds to what every service asks for;
    what comes is stored as a delivery (`takes_prefetch`). From the risks `warning_from` and
    `critical_from` (fractions) on cards are of that kind; without them all are `info`. Without
    `shows_silence` nothing is answered where there is no forecast, instead of a card that says so.
    """

    public_url: str = ""
    clients: tuple[CdsClient, ...] = ()
    allows_unauthenticated: bool = False
    prefetch: dict[str, str] = field(default_factory=dict)
    takes_prefetch: bool = True
    warning_from: Fraction | None = None
    critical_from: Fraction | None = None
    shows_silence: bool = True

    def __post_init__(self) -> None:
        is_address = self.public_url.startswith(("https://", "http://"))
        if self.public_url and (not is_address or self.public_url.endswith("/")):
            raise ValueError("public_url is a web address without a slash at its end")
        if not self.clients and not self.allows_unauthenticated:
            raise ValueError("name a client, or nobody can call")
        if len({client.issuer for client in self.clients}) != len(self.clients):
            raise ValueError("an issuer is one client")
