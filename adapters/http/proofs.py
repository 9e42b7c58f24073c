"""How a notification of a subscription proves who sent it: one check for each way that EHRs have.

All look at the bytes as received, compare in constant time, and take any of several secrets while they
rotate. Knows headers and secrets. Does not look into the bytes.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from adapters.http.errors import BadSignatureError
from adapters.http.signatures import StandardWebhooks
from clinical.services.ports import Clock, HubSecrets

_HUB_SIGNATURE, _HUB_SECRET = "x-hub-signature", "x-hub-secret"
_METHOD = "sha256"
_SECRET_LENGTHS = range(16, 513)
_REFUSAL = "the notification is not proven to be this subscription's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the sender showed: its headers (names in lower case), the `token` of the address, the body."""

    headers: Mapping[str, str]
    token: str
    body: bytes


class HeaderCheck:
    """A fixed header: what we asked the EHR to send with each notification."""

    def __init__(self, name: str, values: Sequence[str]) -> None:
        """`values` are whole values; any of them is good."""
        self._name = name.lower()
        self._values = _required(values)

    def __call__(self, shown: Shown) -> bool:
        """Return if it is there; whether this is a handshake that its body does not tell of: never."""
        _require_any(self._values, shown.headers.get(self._name, "").encode())
        return False


class BodySignatureCheck:
    """Hex HMAC-SHA256 over the body in a header, with or without `sha256=` before it (Medplum)."""

    def __init__(self, header: str, secrets: Sequence[str]) -> None:
        """`secrets` are the keys as text."""
        self._header = header.lower()
        self._secrets = _required(secrets)

    def __call__(self, shown: Shown) -> bool:
        """Return if it is signed; raises BadSignatureError."""
        given = shown.headers.get(self._header, "").strip().lower()
        _require_signed(self._secrets, shown.body, given.removeprefix(f"{_METHOD}="))
        return False


class StandardWebhooksCheck:
    """Standard Webhooks, which alone of all ways says when it was signed."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """`secrets` are `whsec_…`."""
        self._verify = StandardWebhooks(secrets)

    def __call__(self, shown: Shown) -> bool:
        """Return if it is genuine and fresh; raises BadSignatureError."""
        self._verify(shown.headers, shown.body)
        return False


class HubCheck:
    """WebSub, section 7, as athenahealth does it: `X-Hub-Signature: sha256=<hex>` over the body.

    The secret is configured, or comes with a handshake whose sender shows the token that we put into
    the address: whoever knows only the address cannot give us a secret of their own.
    """

    def __init__(
        self,
        subscription_id: UUID,
        secrets: Sequence[str],
        handshake_token: str,
        learned: HubSecrets,
        clock: Clock,
    ) -> None:
        """`handshake_token` empty: no secret is taken from a handshake."""
        self._subscription_id = subscription_id
        self._secrets = [each.encode() for each in secrets]
        self._handshake_token = handshake_token.encode()
        self._learned = learned
        self._clock = clock

    def __call__(self, shown: Shown) -> bool:
        """Return if it is signed, or a handshake; whether it is one.

        Raises:
            BadSignatureError, StorageUnavailableError
        """
        offered = shown.headers.get(_HUB_SECRET, "")
        if offered and self._handshake_token:
            self._take(offered, shown)
            return True
        # WebSub names the method before the digest; any other than ours is refused, SHA-1 too.
        method, _, given = shown.headers.get(_HUB_SIGNATURE, "").partition("=")
        if method.strip().lower() != _METHOD:
            raise BadSignatureError(_REFUSAL)
        known = [*self._secrets, *self._learned.known(self._subscription_id)]
        _require_signed(known, shown.body, given.strip().lower())
        return False

    def _take(self, offered: str, shown: Shown) -> None:
        bearer = shown.headers.get("authorization", "").removeprefix("Bearer ")
        tokens = [shown.token.encode(), bearer.encode()]
        matches = [hmac.compare_digest(self._handshake_token, each) for each in tokens]
        if not any(matches) or len(offered) not in _SECRET_LENGTHS:
            raise BadSignatureError(_REFUSAL)
        self._learned.learn(self._subscription_id, offered.encode(), self._clock.now())


def _required(secrets: Sequence[str]) -> list[bytes]:
    if not secrets or not all(secrets):
        raise ValueError("a proof needs secrets, none of them empty")
    return [each.encode() for each in secrets]


def _require_any(wanted: Sequence[bytes], given: bytes) -> None:
    # No early way out: how long it takes must not say which secret matched.
    if not any([hmac.compare_digest(each, given) for each in wanted]):  # noqa: C419
        raise BadSignatureError(_REFUSAL)


def _require_signed(secrets: Sequence[bytes], body: bytes, given: str) -> None:
    wanted = [hmac.new(each, body, hashlib.sha256).hexdigest().encode() for each in secrets]
    _require_any(wanted, given.encode())
