"""Signs what the audit log says of itself, and checks such signatures (Ed25519, RFC 8032).

Knows keys and nothing of logs. A witness has a notary of its own, in a process of its own.
"""

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from clinical.audit.checkpoint import (
    MalformedNoteError,
    NoteKey,
    Signature,
    SignatureKind,
    cosigned,
    is_key_name,
)


def is_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the holder of the key signed the message."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Ed25519Notary:
    """Signs notes under a name; `kind` says whether for a log or as a witness."""

    name: str
    kind: SignatureKind
    _secret: Ed25519PrivateKey

    @classmethod
    def of(cls, name: str, kind: SignatureKind, secret: bytes) -> "Ed25519Notary":
        """From the 32 bytes of a private key.

        Raises:
            MalformedNoteError: the name is none that could stand in a note.
            ValueError: the secret has another length.
        """
        if not is_key_name(name):
            raise MalformedNoteError(
                "the name of a key is not empty and has no space and no plus sign"
            )
        return cls(name, kind, Ed25519PrivateKey.from_private_bytes(secret))

    @property
    def key(self) -> NoteKey:
        """What others check its signatures with."""
        return NoteKey(self.name, self.kind, self._secret.public_key().public_bytes_raw())

    def sign(self, text: str) -> Signature:
        """A log's signature under a note."""
        return Signature(self.name, self.key.key_id, self._secret.sign(text.encode()))

    def cosign(self, text: str, at: int) -> Signature:
        """A witness's, which says when: seconds since 1970."""
        content = at.to_bytes(8) + self._secret.sign(cosigned(text, at))
        return Signature(self.name, self.key.key_id, content)
