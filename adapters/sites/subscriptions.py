"""Which subscriptions a site sends, in which form, and how each proves that it is the site's."""

from typing import Literal

from msgspec import Struct

from adapters.sites.secret import Secret


class StaticHeader(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="header", tag_field="kind"
):
    """A header with a fixed value, such as `Bearer …`; several values while they rotate.

    The first is the one that we give the EHR when we subscribe.
    """

    values: tuple[Secret, ...]
    name: str = "Authorization"


class HubSignature(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="hub", tag_field="kind"
):
    """WebSub and athenahealth: `X-Hub-Signature: sha256=<hex>` over the body.

    The secret is configured, or comes once in `X-Hub-Secret` with the handshake: taken only from
    whoever shows `handshake_token`, as the query parameter `token` of our address or in the header
    `Authorization: Bearer …`.
    """

    secrets: tuple[Secret, ...] = ()
    handshake_token: Secret | None = None


class BodySignature(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="hmac", tag_field="kind"
):
    """Medplum: hex HMAC-SHA256 over the body, in a header of this name."""

    secrets: tuple[Secret, ...]
    header: str = "X-Signature"


class SignedWebhook(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag="standard_webhooks",
    tag_field="kind",
):
    """Standard Webhooks, `whsec_…`; such messages are too old after five minutes."""

    secrets: tuple[Secret, ...]


Proof = StaticHeader | HubSignature | BodySignature | SignedWebhook


class Subscription(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One subscription. Lengths are in seconds; 0 is never, or not said.

    `form`: `backport` is topic-based in R4 and R4B, `r5` is R5's own, `classic` is R4's criteria.
    `topic` is the canonical of the topic, for `classic` the criteria. `queries` find together what
    the subscription tells of; for `classic` they are the criteria unless said otherwise.
    """

    proof: Proof
    topic: str = ""
    form: Literal["backport", "r5", "classic"] = "backport"
    filters: tuple[str, ...] = ()
    content: Literal["empty", "id-only", "full-resource"] = "id-only"
    queries: tuple[str, ...] = ()
    has_running_counters: bool = True
    """Off where event numbers begin anew in each notification (athenahealth)."""
    has_unique_event_ids: bool = False
    """On where `notificationEvent.id` names an event for good (athenahealth)."""
    is_created_here: bool = True
    """Off where the EHR's people make the subscription: then nothing is created, renewed or removed."""
    reason: str = "Clinical predictions for review"
    heartbeat_seconds: int = 60
    timeout_seconds: int = 10
    max_count: int = 0
    lifetime_seconds: int = 0
    patience_seconds: float = 60.0
    query_pause_seconds: float = 30.0
    query_overlap_seconds: float = 300.0
    query_period_seconds: float = 0.0
    read_pause_seconds: float = 5.0
    max_reads: int = 100
    known_as: tuple[str, ...] = ()
    """Further base addresses under which the EHR's references name its own records."""
