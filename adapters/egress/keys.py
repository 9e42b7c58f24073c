"""The keys with which we prove to others who we are, and how they rotate.

A key is a file; all keys of the folder are published (JWKS). The newest signs, once it has been
published for as long as others may keep an older set; before that, the one before it.
"""

import base64
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from clinical.errors import ClinicalError, RejectedError
from clinical.services.ports import Clock

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

PUBLISHED_BEFORE_USE = timedelta(hours=1)
_RSA_BITS = 3072
_STAMP = "%Y%m%dT%H%M%SZ"


class NoSigningKeyError(ClinicalError):
    """There is no key of this kind: `clinical keys rotate` makes one."""

    code = "keys.none"


class UnknownKeyError(RejectedError):
    """No key has this id."""

    code = "keys.unknown"


class OnlyKeyError(RejectedError):
    """The last key of its kind, or the one that signs now, is not removed."""

    code = "keys.in_use"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A private key with its id, the thumbprint of its public half (RFC 7638)."""

    kid: str
    algorithm: str  # RS384, RS256 or ES384: the key's kind; an RSA key signs with either
    made_at: datetime
    private_key: PrivateKey

    @property
    def kind(self) -> str:
        """`RSA` or `EC`."""
        return "EC" if _is_ec(self.private_key) else "RSA"

    @property
    def public_jwk(self) -> dict[str, Any]:
        """The public half as a JWK (RFC 7517)."""
        return {
            **_public(self.private_key),
            "kid": self.kid,
            "use": "sig",
            "alg": self.algorithm,
            "key_ops": ["verify"],
        }


class KeyRing:
    """The keys in one folder; read anew each time, for another process may have rotated them."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """The folder need not exist yet."""
        self._folder = folder
        self._clock = clock

    def all(self) -> list[SigningKey]:
        """Every key, the oldest first."""
        return [_read(path) for path in sorted(self._folder.glob("*.pem"))]

    def signing(self, algorithm: str) -> SigningKey:
        """The key that signs now with this algorithm; raises NoSigningKeyError."""
        kind = _kind_of(algorithm)
        known = [key for key in self.all() if key.kind == kind]
        if not known:
            raise NoSigningKeyError(f"there is no {kind} key: `clinical keys rotate` makes one")
        published = [
            key for key in known if key.made_at <= self._clock.now() - PUBLISHED_BEFORE_USE
        ]
        return published[-1] if published else known[0]

    def rotate(self, algorithm: str) -> SigningKey:
        """Make a key; it is published at once and signs after `PUBLISHED_BEFORE_USE`."""
        private = (
            rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
            if _kind_of(algorithm) == "RSA"
            else ec.generate_private_key(ec.SECP384R1())
        )
        stamp = self._clock.now().astimezone(UTC).strftime(_STAMP)
        path = self._folder / f"{stamp}-{algorithm}-{secrets.token_hex(4)}.pem"
        _write(path, private)
        return _read(path)

    def ensure(self, algorithm: str) -> None:
        """Make the first key of this kind unless there is one."""
        if not any(key.kind == _kind_of(algorithm) for key in self.all()):
            self.rotate(algorithm)

    def remove(self, kid: str) -> None:
        """Unpublish a key that does not sign any more; raises UnknownKeyError, OnlyKeyError."""
        for path in self._folder.glob("*.pem"):
            key = _read(path)
            if key.kid == kid:
                if self.signing(key.algorithm).kid == kid:
                    raise OnlyKeyError("this key signs now: rotate first, and wait")
                path.unlink()
                return
        raise UnknownKeyError("no key has this id")

    def public(self) -> list[dict[str, Any]]:
        """The public halves of all keys, the newest first."""
        return [key.public_jwk for key in reversed(self.all())]


def _kind_of(algorithm: str) -> str:
    return "EC" if algorithm.startswith("ES") else "RSA"


def _public(private: PrivateKey) -> dict[str, Any]:
    public = private.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        return dict(json.loads(RSAAlgorithm.to_jwk(public)))
    return dict(json.loads(ECAlgorithm.to_jwk(public)))


def _read(path: Path) -> SigningKey:
    stamp, algorithm, _ = path.stem.split("-", 2)
    private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    made_at = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    return SigningKey(
        kid=_thumbprint(private), algorithm=algorithm, made_at=made_at, private_key=private
    )


def _thumbprint(private: PrivateKey) -> str:
    """RFC 7638: the SHA-256 of the members that every key of the kind has, in order."""
    members = ("crv", "kty", "x", "y") if _is_ec(private) else ("e", "kty", "n")
    public = _public(private)
    text = json.dumps({name: public[name] for name in members}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _is_ec(private: PrivateKey) -> bool:
    return isinstance(private, ec.EllipticCurvePrivateKey)


def _write(path: Path, private: PrivateKey) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    made = path.with_suffix(".new")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    made.rename(path)
