"""Check what an audit log claims, far from the service that keeps it: one file, no other part of it.

Needs Python and the package `cryptography` (for Ed25519). Ends with status 0 where everything holds.

    python verify_ledger.py proof     FILE.tlog-proof ENTRY.json      --log-key KEY [--witness-key KEY]…
    python verify_ledger.py grown     OLD.checkpoint NEW.checkpoint PROOF --log-key KEY [--witness-key KEY]…
    python verify_ledger.py export    LOG.txt NEW.checkpoint          --log-key KEY [--witness-key KEY]…

A KEY is a verifier key of c2sp.org/signed-note, as text or as a file that holds it. `proof`: that the
entry, byte for byte, is in the log that the checkpoint tells of. `grown`: that the log of NEW begins
with the log of OLD. `export`: that the log of NEW consists of exactly these entries, a line each of the
leaf's hash in hex, a space and the entry. Every witness key given must have signed.

Sources: RFC 6962 section 2.1, RFC 9162 sections 2.1.3.2 and 2.1.4.2, c2sp.org/tlog-checkpoint,
/tlog-cosignature and /tlog-proof.
"""

import argparse
import base64
import hashlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LOG, WITNESS = 1, 4
MAX_SIGNATURES = 100


class WrongError(ValueError):
    """What was claimed does not hold, or the files are none of the formats."""


class Key(NamedTuple):
    """The public half of a key of a log or a witness."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The first four bytes of `SHA-256(name ‖ LF ‖ kind ‖ public key)`."""
        seed = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(seed).digest()[:4]


class Head(NamedTuple):
    """What a checkpoint says: the origin, how many entries, and the root over them."""

    origin: str
    size: int
    root: bytes


def main(words: Sequence[str]) -> int:
    """Check what is asked; 0 where it holds, 1 where it does not."""
    options = _options().parse_args(words)
    try:
        print(options.check(options))  # noqa: T201 - a script that people run
    except (WrongError, OSError, UnicodeDecodeError) as error:
        print(f"WRONG: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    kinds = parser.add_subparsers(required=True)
    for name, check, files in (
        ("proof", _proof, ("proof", "entry")),
        ("grown", _grown, ("old", "new", "path")),
        ("export", _export, ("log", "new")),
    ):
        kind = kinds.add_parser(name)
        kind.set_defaults(check=check)
        for file in files:
            kind.add_argument(file, type=Path)
        kind.add_argument("--log-key", required=True, type=key_of)
        kind.add_argument("--witness-key", action="append", default=[], type=key_of)
    return parser


def _proof(options: argparse.Namespace) -> str:
    index, path, note = parsed_proof(options.proof.read_text("utf-8"))
    head = trusted(note, options.log_key, options.witness_key)
    entry = options.entry.read_bytes().removesuffix(b"\n")
    if not is_included(leaf_of(entry), index, path, head):
        raise WrongError("the proof does not show that this entry is in the log")
    return f"entry {index} is among the {head.size} of {head.origin}"


def _grown(options: argparse.Namespace) -> str:
    old, new = (
        trusted(file.read_text("utf-8"), options.log_key, options.witness_key)
        for file in (options.old, options.new)
    )
    path = [_decoded(line) for line in options.path.read_text("utf-8").split("\n") if line]
    if old.origin != new.origin or not has_grown(old, new, path):
        raise WrongError("the proof does not show that the log only grew")
    return f"the {new.size} entries of {new.origin} begin with the {old.size} of before"


def _export(options: argparse.Namespace) -> str:
    head = trusted(options.new.read_text("utf-8"), options.log_key, options.witness_key)
    with options.log.open("rb") as lines:
        size, root = root_of(lines, head.size)
    if size < head.size:
        raise WrongError(f"entry {size} is missing: the checkpoint tells of {head.size}")
    if root != head.root:
        raise WrongError(
            "the entries are not those of the checkpoint: one was changed with its hash"
        )
    return f"the log of {head.origin} consists of exactly these {head.size} entries"


def leaf_of(entry: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_of(left: bytes, right: bytes) -> bytes:
    """The hash of a node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(lines: Iterable[bytes], size: int) -> tuple[int, bytes]:
    """How many of the first `size` lines there are, and the root over them; raises WrongError."""
    peaks: list[tuple[int, bytes]] = []
    count = 0
    for line in lines:
        if count == size:
            raise WrongError(f"there is an entry {size}, of which the checkpoint knows nothing")
        stated, _, entry = line.removesuffix(b"\n").partition(b" ")
        height, value = 0, leaf_of(entry)
        if stated != value.hex().encode():
            raise WrongError(f"entry {count} was changed: it is not that of its hash")
        while peaks and peaks[-1][0] == height:
            value = node_of(peaks.pop()[1], value)
            height += 1
        peaks.append((height, value))
        count += 1
    if not peaks:
        return 0, hashlib.sha256().digest()
    root = peaks[-1][1]
    for _, value in reversed(peaks[:-1]):
        root = node_of(value, root)
    return count, root


def is_included(leaf: bytes, index: int, path: Sequence[bytes], head: Head) -> bool:
    """Whether `path` leads from the leaf at `index` to the root."""
    if not 0 <= index < head.size:
        return False
    node, last, value = index, head.size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            value = node_of(sibling, value)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            value = node_of(value, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and value == head.root


def has_grown(old: Head, new: Head, path: list[bytes]) -> bool:
    """Whether `path` leads to both roots."""
    if old.size >= new.size or old.size == 0:
        is_same = old == new or (old.size == 0 and old.root == hashlib.sha256().digest())
        return is_same and not path
    if old.size & (old.size - 1) == 0:  # a power of two: the old root is a subtree of the new one
        path = [old.root, *path]
    return bool(path) and _leads_to_both(old, new, path)


def _leads_to_both(old: Head, new: Head, path: list[bytes]) -> bool:
    node, last = old.size - 1, new.size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            before, after = node_of(sibling, before), node_of(sibling, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_of(after, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and before == old.root and after == new.root


def parsed_proof(text: str) -> tuple[int, list[bytes], str]:
    """Index, hashes and signed checkpoint of a `.tlog-proof`."""
    claim, gap, note = text.partition("\n\n")
    lines = claim.split("\n")
    if not gap or lines[0] != "c2sp.org/tlog-proof@v1":
        raise WrongError("this is no proof")
    rest = lines[2:] if lines[1:2] and lines[1].startswith("extra ") else lines[1:]
    if not rest or not rest[0].startswith("index "):
        raise WrongError("the proof names no index")
    return _number(rest[0].removeprefix("index ")), [_decoded(line) for line in rest[1:]], note


def trusted(note: str, log: Key, witnesses: Sequence[Key]) -> Head:
    """What the checkpoint says, once its log and every witness have signed it."""
    text, gap, under = note.rpartition("\n\n")
    if not gap or not under.endswith("\n"):
        raise WrongError("the checkpoint is not signed")
    text += "\n"
    lines = under[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise WrongError("the checkpoint has more signatures than are read")
    for key in (log, *witnesses):
        _require_signed(text, lines, key)
    said = text.split("\n")
    if len(said) < 4 or said[0] != log.name:
        raise WrongError("the checkpoint is not that of the log of this key")
    return Head(said[0], _number(said[1]), _decoded(said[2]))


def _require_signed(text: str, lines: Sequence[str], key: Key) -> None:
    for line in lines:
        dash, name, encoded = (*line.split(" "), "", "")[:3]
        content = _decoded(encoded) if dash == "\u2014" and name == key.name else b""
        if content[:4] != key.key_id:
            continue
        message, signature = text.encode(), content[4:]
        if key.kind == WITNESS:
            at, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            message = f"cosignature/v1\ntime {at}\n".encode() + message
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
        except InvalidSignature:
            raise WrongError(f"the signature of {key.name} is false") from None
        return
    raise WrongError(f"{key.name} did not sign the checkpoint")


def key_of(text: str) -> Key:
    """A verifier key, as text or in a file."""
    if "+" not in text:
        text = Path(text).read_text("utf-8")
    name, _, rest = text.strip().partition("+")
    stated, _, encoded = rest.partition("+")
    content = _decoded(encoded)
    if len(content) != 33 or content[0] not in (LOG, WITNESS):
        raise WrongError("this is no Ed25519 key of a log or a witness")
    key = Key(name, content[0], content[1:])
    if key.key_id.hex() != stated:
        raise WrongError("the id of the key is not that of its bytes")
    return key


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or (text != "0" and text.startswith("0")):
        raise WrongError(f"{text!r} is no number")
    return int(text)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise WrongError("a part of the text is no base64") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
