"""What a log says of itself, signed: C2SP checkpoints, notes and witness cosignatures, as text.

Sources: c2sp.org/tlog-checkpoint, /signed-note, /tlog-cosignature and /tlog-proof. Knows the formats;
signing and checking Ed25519 is done by whoever is passed in, for the domain holds no key.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from clinical.audit.tree import TreeHead
from clinical.errors import RejectedError

Check = Callable[[bytes, bytes, bytes], bool]
"""Public key, signature, message: whether it is a valid Ed25519 signature."""

MAX_SIGNATURES = 100
_DASH = "\u2014 "
_PROOF = "c2sp.org/tlog-proof@v1"


class MalformedNoteError(RejectedError):
    """The text is no signed note, checkpoint, proof or key of the formats above."""

    code = "audit.malformed_note"


class UntrustedNoteError(RejectedError):
    """No known key signed the note, or the signature of a known key is false."""

    code = "audit.untrusted_note"


class SignatureKind(IntEnum):
    """The byte by which a note tells what a key signs (signed-note, "Signature types")."""

    LOG = 0x01
    WITNESS = 0x04


@dataclass(frozen=True, slots=True)
class NoteKey:
    """The public half of a key that signs notes."""

    name: str
    kind: SignatureKind
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The first four bytes of `SHA-256(name ‖ LF ‖ kind ‖ public key)`."""
        seed = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(seed).digest()[:4]

    def to_text(self) -> str:
        """As a verifier key: name, key id in hex, and kind and key in base64, joined by plus signs."""
        encoded = _encoded(bytes([self.kind]) + self.public)
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def from_text(cls, text: str) -> "NoteKey":
        """Raises MalformedNoteError, also where the id is not that of the key."""
        name, _, rest = text.strip().partition("+")
        stated, _, encoded = rest.partition("+")
        content = _decoded(encoded)
        if not is_key_name(name) or len(content) != 33 or content[0] not in set(SignatureKind):
            raise MalformedNoteError("this is no Ed25519 key of a log or a witness")
        key = cls(name, SignatureKind(content[0]), content[1:])
        if key.key_id.hex() != stated:
            raise MalformedNoteError("the id of the key is not that of its bytes")
        return key


def is_key_name(name: str) -> bool:
    """Whether it is one: not empty, without spaces and plus signs."""
    return bool(name) and "+" not in name and not any(c.isspace() or c < " " for c in name)


@dataclass(frozen=True, slots=True)
class Signature:
    """One line under a note."""

    name: str
    key_id: bytes
    content: bytes

    def to_text(self) -> str:
        """The line, its newline included."""
        return f"{_DASH}{self.name} {_encoded(self.key_id + self.content)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """Text, its last newline included, and the signatures under it."""

    text: str
    signatures: tuple[Signature, ...]

    def to_text(self) -> str:
        """Text, an empty line, signatures."""
        return f"{self.text}\n{''.join(each.to_text() for each in self.signatures)}"

    @classmethod
    def from_text(cls, text: str) -> "Note":
        """Raises MalformedNoteError."""
        body, gap, lines = text.rpartition("\n\n")
        if not gap or not lines.endswith("\n") or any(c < " " and c != "\n" for c in text):
            raise MalformedNoteError("this is no signed note")
        found = tuple(_signature(line) for line in lines[:-1].split("\n"))
        if len(found) > MAX_SIGNATURES:
            raise MalformedNoteError("the note has more signatures than are read")
        return cls(f"{body}\n", found)

    def signed_by(self, key: NoteKey, check: Check) -> int | None:
        """Whether this key signed: 0, or for a witness the time of it in seconds since 1970; None if not.

        Raises:
            UntrustedNoteError: there is a signature of the key, and it is false.
        """
        own = (each for each in self.signatures if each.name == key.name)
        for signature in own:
            if signature.key_id == key.key_id:
                return _checked(self.text, signature.content, key, check)
        return None


def _checked(text: str, content: bytes, key: NoteKey, check: Check) -> int:
    at, message = 0, text.encode()
    if key.kind is SignatureKind.WITNESS:
        at = int.from_bytes(content[:8])
        content, message = content[8:], cosigned(text, at)
    if not check(key.public, content, message):
        raise UntrustedNoteError("the signature of a known key under the note is false")
    return at


def cosigned(text: str, at: int) -> bytes:
    """What a witness signs: the checkpoint, and when it saw it as the largest (seconds since 1970)."""
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def _signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    content = _decoded(encoded)
    if not line.startswith(_DASH) or not is_key_name(name) or len(content) <= 4:
        raise MalformedNoteError("a line under the note is no signature")
    return Signature(name, content[:4], content[4:])


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of the log of this origin."""

    origin: str
    head: TreeHead

    def to_text(self) -> str:
        """The body of a note."""
        return f"{self.origin}\n{self.head.size}\n{_encoded(self.head.root)}\n"

    @classmethod
    def from_text(cls, text: str) -> "Checkpoint":
        """Raises MalformedNoteError; lines after the third are extensions, and not read."""
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0] or lines[-1]:
            raise MalformedNoteError("this is no checkpoint")
        root = _decoded(lines[2])
        if len(root) != hashlib.sha256().digest_size:
            raise MalformedNoteError("the root of the checkpoint is no SHA-256")
        return cls(lines[0], TreeHead(_number(lines[1]), root))


def proof_text(index: int, path: Sequence[bytes], checkpoint: str) -> str:
    """A `.tlog-proof`: the place, the hashes, an empty line, the signed checkpoint as it is."""
    hashes = "".join(f"{_encoded(each)}\n" for each in path)
    return f"{_PROOF}\nindex {index}\n{hashes}\n{checkpoint}"


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or (text != "0" and text.startswith("0")):
        raise MalformedNoteError("a number of the text is none")
    return int(text)


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedNoteError("a part of the text is no base64") from error
