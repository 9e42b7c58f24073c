"""Who sent a callback, and when: the HMAC that Nabla puts over the time stamp and the raw body.

Knows the secrets that it is given and the headers of one product. Does not look into the body.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from clinical.errors import RejectedError
from clinical.services.ports import Clock

CONNECT = "x-nabla-connect"
CORE_WEBHOOK = "x-nabla-webhook"
DEFAULT_WINDOW = timedelta(seconds=60)
_SCHEME = "sha256="


class BadSignatureError(RejectedError):
    """Not signed with a secret that we know, or not now."""

    code = "nabla.bad_signature"


class SignatureCheck:
    """Hex HMAC-SHA256 over `timestamp || body`, nothing between them, in constant time.

    Any of several secrets may have made any of several comma-separated signatures: that is how
    either side rotates. Stamps outside `window`, before or after now, are refused.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        clock: Clock,
        *,
        window: timedelta = DEFAULT_WINDOW,
        prefix: str = CONNECT,
    ) -> None:
        """`prefix` names the product's pair of headers: `<prefix>-timestamp`, `<prefix>-signature`."""
        if not secrets or not all(secrets):
            raise ValueError("a signature check needs secrets, none of them empty")
        self._secrets = [secret.encode() for secret in secrets]
        self._clock = clock
        self._window = window
        self._prefix = prefix

    def __call__(self, headers: Mapping[str, str], body: bytes) -> None:
        """Return if genuine and fresh; `headers` are looked up in lower case.

        Raises:
            BadSignatureError
        """
        stamp = headers.get(f"{self._prefix}-timestamp", "")
        given = headers.get(f"{self._prefix}-signature", "")
        if not self._is_genuine(stamp, body, given) or not self._is_fresh(stamp):
            raise BadSignatureError("the callback is not signed by a known secret, or not now")

    def _is_genuine(self, stamp: str, body: bytes, given: str) -> bool:
        offered = [_plain(one) for one in given.split(",") if one.strip()]
        signed = stamp.encode() + body
        # No early way out: how long it takes must not say which secret or signature matched.
        matches = [
            hmac.compare_digest(hmac.new(secret, signed, hashlib.sha256).hexdigest().encode(), one)
            for secret in self._secrets
            for one in offered
        ]
        return any(matches)

    def _is_fresh(self, stamp: str) -> bool:
        try:
            signed_at = datetime.fromisoformat(stamp.strip())
        except ValueError:
            return False
        if signed_at.tzinfo is None:
            return False
        return abs(self._clock.now() - signed_at) <= self._window


def _plain(signature: str) -> bytes:
    return signature.strip().lower().removeprefix(_SCHEME).encode()


class BearerCheck:
    """Besides the signature, the bearer that Nabla got from the site's own authorisation server."""

    def __init__(self, bearers: Sequence[str], then: SignatureCheck) -> None:
        """Any of `bearers` will do: several while they rotate."""
        if not bearers or not all(bearers):
            raise ValueError("a check of bearers needs some, none of them empty")
        self._bearers = [bearer.encode() for bearer in bearers]
        self._then = then

    def __call__(self, headers: Mapping[str, str], body: bytes) -> None:
        """Return if both are good; raises BadSignatureError."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        matches = [hmac.compare_digest(each, token.strip().encode()) for each in self._bearers]
        if scheme.lower() != "bearer" or not any(matches):
            raise BadSignatureError("the callback carries no bearer that the site accepts")
        self._then(headers, body)
