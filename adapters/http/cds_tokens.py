"""Who calls: the signed token that comes with every CDS Hooks call (CDS Hooks 2.0, "Trusting CDS Clients").

Knows which clients a site trusts and what their tokens must say. Never fetches keys from an address
that a token names: a `jku` is only compared. Does not know where keys are kept.
"""

import base64
import binascii
import json
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.types import Options
from jwt.utils import base64url_decode

from clinical.errors import ClinicalError, RejectedError
from clinical.services.ports import Clock

ALGORITHMS = ("ES384", "RS384", "ES256", "RS256")
"""Those that a client may sign with at all; shared secrets and `none` prove nothing."""
_LEEWAY = timedelta(seconds=60)
_LONGEST_LIFE = timedelta(hours=1)
_SMALLEST_RSA_BITS = 2048
_MAX_TOKEN = 8192
_MAX_TOKEN_ID = 512
_ASK_AGAIN_SECONDS = 60.0
_KEEP_SECONDS = 3600.0
# What a token says is checked here, by our clock; the library would take that of this machine.
_SIGNATURE_ALONE: Options = {
    "verify_aud": False,
    "verify_exp": False,
    "verify_iat": False,
    "verify_iss": False,
    "verify_jti": False,
    "verify_nbf": False,
    "verify_sub": False,
}


class MissingTokenError(RejectedError):
    """The call carries no bearer token, and this site answers nobody without one."""

    code = "cds.missing_token"


class BadTokenError(RejectedError):
    """The token is not of a trusted client, not for this address, not now, or not signed with its key."""

    code = "cds.bad_token"


class ReplayedTokenError(RejectedError):
    """The token was used before; each call needs one of its own."""

    code = "cds.replayed_token"


class KeySet:
    """The public keys of one client by `kid`, read again when an unknown one is named.

    At most once a minute, whatever the caller names; and once an hour, so that a key that was taken
    back is forgotten. While the keys cannot be read, those of before stand.
    """

    def __init__(
        self,
        load: Callable[[], Mapping[str, Any]],
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """`load` returns a JWK set (RFC 7517), or raises an error of ours; nothing is read yet."""
        self._load = load
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._keys: Mapping[str, Mapping[str, Any]] = {}
        self._tried_at = -math.inf

    def find(self, kid: str) -> Mapping[str, Any] | None:
        """The key of this name."""
        with self._lock:
            waited = self._elapsed() - self._tried_at
            if waited >= _KEEP_SECONDS or (kid not in self._keys and waited >= _ASK_AGAIN_SECONDS):
                self._read()
            return self._keys.get(kid)

    def _read(self) -> None:
        self._tried_at = self._elapsed()
        try:
            stated = self._load().get("keys")
        except ClinicalError:
            return
        if isinstance(stated, list):
            named = [key for key in stated if isinstance(key, dict)]
            self._keys = {k["kid"]: k for k in named if isinstance(k.get("kid"), str)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedClient:
    """A client whose tokens are taken. `jku`, `tenant` and `subject` are compared where they are set.

    A token may name a `jku` only if it is this one.
    """

    issuer: str
    keys: KeySet
    jku: str = ""
    tenant: str = ""
    subject: str = ""
    algorithms: tuple[str, ...] = ("ES384", "RS384")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCheck:
    """Checks tokens of one site. `spend` takes issuer, token id and until when to remember; False: used.

    Without `is_required` a call without any token passes as nobody; a bad one never does.
    """

    clients: Mapping[str, TrustedClient]
    clock: Clock
    spend: Callable[[str, str, datetime], bool]
    is_required: bool = True
    _decoder: jwt.PyJWT = field(default_factory=jwt.PyJWT)

    def __call__(self, authorization: str | None, audience: str) -> str | None:
        """The issuer of a token that is good for `audience`, now used up; None: nobody said who calls.

        Raises:
            MissingTokenError, BadTokenError, ReplayedTokenError
            StorageUnavailableError
        """
        token = _bearer(authorization)
        if token is None:
            if self.is_required:
                raise MissingTokenError("send a bearer token that is signed by the client")
            return None
        header, claims = self._read(token)
        client = self._client(header, claims)
        self._require_signed(token, header, client)
        until = self._require_timely(claims)
        _require_meant(claims, client, audience)
        token_id = claims.get("jti")
        if not isinstance(token_id, str) or not 0 < len(token_id) <= _MAX_TOKEN_ID:
            raise BadTokenError("jti: a text that no other token has")
        if not self.spend(client.issuer, token_id, until):
            raise ReplayedTokenError("jti: the token was used before")
        return client.issuer

    def _read(self, token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """What it says, believed by nobody yet."""
        try:
            header = jwt.get_unverified_header(token)
            claims = json.loads(base64url_decode(token.split(".")[1]))
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise BadTokenError("the bearer token is no signed JWT") from error
        if not isinstance(claims, dict):
            raise BadTokenError("the bearer token is no signed JWT")
        if "crit" in header:
            raise BadTokenError("crit: an extension that is not understood")
        if header.get("typ", "JWT") not in ("JWT", "jwt"):
            raise BadTokenError("typ: JWT")
        return header, claims

    def _client(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> TrustedClient:
        issuer = claims.get("iss")
        client = self.clients.get(issuer) if isinstance(issuer, str) else None
        if client is None:
            raise BadTokenError("iss: no client that this site trusts")
        if header.get("alg") not in ALGORITHMS or header.get("alg") not in client.algorithms:
            raise BadTokenError(f"alg: one of {', '.join(client.algorithms)}")
        if "jku" in header and header["jku"] != client.jku:
            raise BadTokenError("jku: not the one that is registered for the client")
        return client

    def _require_signed(self, token: str, header: Mapping[str, Any], client: TrustedClient) -> None:
        kid = header.get("kid")
        stated = client.keys.find(kid) if isinstance(kid, str) else None
        if stated is None:
            raise BadTokenError("kid: no key of the client")
        algorithm = str(header["alg"])
        if stated.get("use", "sig") != "sig" or stated.get("alg", algorithm) != algorithm:
            raise BadTokenError("kid: the key is not meant for this")
        try:
            key = jwt.PyJWK(dict(stated), algorithm).key
            if isinstance(key, RSAPublicKey) and key.key_size < _SMALLEST_RSA_BITS:
                raise BadTokenError("kid: the key is too short")
            self._decoder.decode(token, key, algorithms=[algorithm], options=_SIGNATURE_ALONE)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise BadTokenError("the signature is not of the client's key") from error

    def _require_timely(self, claims: Mapping[str, Any]) -> datetime:
        """By our clock; until when the token would be taken."""
        now = self.clock.now()
        expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
        begins = _moment(claims, "nbf") if "nbf" in claims else issued
        if expires + _LEEWAY <= now:
            raise BadTokenError("exp: the token has expired")
        if issued > now + _LEEWAY or begins > now + _LEEWAY:
            raise BadTokenError("iat, nbf: the token is not valid yet")
        if expires > now + _LONGEST_LIFE:
            raise BadTokenError("exp: the token lives too long")
        return expires + _LEEWAY


def _bearer(authorization: str | None) -> str | None:
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise BadTokenError("send the token as `Authorization: Bearer …`")
    if len(token) > _MAX_TOKEN or not _is_compact(token.strip()):
        raise BadTokenError("the bearer token is no signed JWT")
    return token.strip()


def _is_compact(token: str) -> bool:
    """Three parts of base64url: anything else is not even looked into."""
    parts = token.split(".")
    try:
        return len(parts) == 3 and all(
            base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts
        )
    except (ValueError, binascii.Error):
        return False


def _require_meant(claims: Mapping[str, Any], client: TrustedClient, audience: str) -> None:
    stated = claims.get("aud")
    if isinstance(stated, Sequence) and not isinstance(stated, str) and len(stated) == 1:
        [stated] = stated
    if stated != audience:
        raise BadTokenError("aud: not the address that was called")
    if client.tenant and claims.get("tenant") != client.tenant:
        raise BadTokenError("tenant: not the one that is registered for the client")
    if client.subject and claims.get("sub") != client.subject:
        raise BadTokenError("sub: not the one that is registered for the client")


def _moment(claims: Mapping[str, Any], name: str) -> datetime:
    stated = claims.get(name)
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not math.isfinite(stated):
        raise BadTokenError(f"{name}: seconds since 1970")
    try:
        return datetime.fromtimestamp(stated, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise BadTokenError(f"{name}: seconds since 1970") from error
