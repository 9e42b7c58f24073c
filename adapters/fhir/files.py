"""Files to deliveries: Bundles, single resources and NDJSON, plain or gzip, alone or in folders.

A file of NDJSON is streamed and cut into deliveries of whole lines, so it may be of any size. Any
other file is one delivery, its bytes as they are; beyond `MAX_BODY_BYTES` it is refused by name. A
file that cannot be read to its end becomes a last delivery that says so in `context["problem"]`,
which the reader quarantines. File names are never passed on: they often are names of patients.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adapters.fhir.body import MAX_BODY_BYTES, expanded
from adapters.fhir.bundle import NDJSON
from adapters.fhir.errors import DeliveryError, Reason
from clinical.errors import RejectedError
from clinical.services.delivery import Delivery, Door
from clinical.services.ports import Clock, Identities

JSON = "application/fhir+json"
MAX_LINES = 1000
MAX_CHUNK_BYTES = 1024 * 1024
MAX_LINE_BYTES = 10 * 1024 * 1024
_BLOCK = 256 * 1024
_NDJSON_ENDINGS = (".ndjson", ".ndjson.gz", ".jsonl", ".jsonl.gz")
_ENDINGS = (".json", ".json.gz", *_NDJSON_ENDINGS)


class NothingToImportError(RejectedError):
    """The path holds no file whose ending says that it is FHIR JSON or NDJSON."""

    code = "fhir.nothing_to_import"


def deliveries(
    path: Path, *, site: str, clock: Clock, identities: Identities
) -> Iterator[Delivery]:
    """Each delivery of a file, or of all files below a folder in the order of their paths.

    Raises:
        NothingToImportError: no file ends in .json, .ndjson or .jsonl (or these with .gz).
    """
    stamp = _Stamp(site, clock, identities)
    found = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    fitting = [each for each in found if each.name.lower().endswith(_ENDINGS) and each.is_file()]
    if not fitting:
        raise NothingToImportError("no file here ends in .json, .ndjson or .jsonl, plain or .gz")
    for each in fitting:
        if each.name.lower().endswith(_NDJSON_ENDINGS):
            yield from _cut(each, stamp)
        else:
            yield _whole(each, stamp)


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What every delivery of one import gets."""

    site: str
    clock: Clock
    identities: Identities

    def delivery(
        self, body: bytes, content_type: str, context: dict[str, str], sender_id: str = ""
    ) -> Delivery:
        return Delivery(
            delivery_id=self.identities.new(),
            site=self.site,
            door=Door.FHIR_BULK,
            sender_id=sender_id or hashlib.sha256(body).hexdigest(),
            body=body,
            content_type=content_type,
            received_at=self.clock.now(),
            context=context,
        )


def _whole(path: Path, stamp: _Stamp) -> Delivery:
    context = {"encoding": "gzip"} if path.name.lower().endswith(".gz") else {}
    if path.stat().st_size <= MAX_BODY_BYTES:
        return stamp.delivery(path.read_bytes(), JSON, context)
    # Too large to be held: only its digest is, so that the refusal names these very bytes.
    hasher = hashlib.sha256()
    for block in _blocks(path):
        hasher.update(block)
    context["problem"] = Reason.TOO_LARGE.value
    return stamp.delivery(b"", JSON, context, hasher.hexdigest())


def _cut(path: Path, stamp: _Stamp) -> Iterator[Delivery]:
    blocks = _blocks(path)
    if path.name.lower().endswith(".gz"):
        blocks = expanded(blocks)
    for chunk in chunks(blocks):
        context = {"first_line": str(chunk.first_line)}
        sender_id = ""
        if chunk.problem is not None:
            context["problem"] = chunk.problem.value
            # Not the digest alone: the same bytes may come again as part of a file that is whole.
            sender_id = hashlib.sha256(chunk.problem.value.encode() + chunk.body).hexdigest()
        yield stamp.delivery(chunk.body, NDJSON, context, sender_id)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines; or, with a `problem`, the part of a line that was read before it arose."""

    first_line: int
    body: bytes
    problem: Reason | None = None

    @property
    def num_lines(self) -> int:
        """How many lines it is of; a part of a line counts as one."""
        is_open = bool(self.body) and not self.body.endswith(b"\n")
        return self.body.count(b"\n") + is_open


def chunks(blocks: Iterator[bytes]) -> Iterator[Chunk]:
    """Whole lines in chunks; what is left of a file that breaks off comes last, with its problem."""
    cutter = _Cutter()
    problem: Reason | None = None
    try:
        for block in blocks:
            yield from cutter.add(block)
    except DeliveryError as error:
        problem = error.reason
    if problem is None:
        cutter.end()
    yield from cutter.whole_lines()
    if problem is not None:
        yield Chunk(cutter.line, cutter.rest(), problem)


class _Cutter:
    """Gathers lines until they are enough for a chunk; `line` is the number of the next line.

    A line that has no end within `MAX_LINE_BYTES` becomes a chunk with its problem: as much as was
    held is kept, and reading goes on after it.
    """

    def __init__(self) -> None:
        self.line = 1
        self._lines: list[bytes] = []
        self._size = 0
        self._open = bytearray()
        self._is_skipping = False

    def add(self, block: bytes) -> Iterator[Chunk]:
        pieces = block.split(b"\n")
        for piece in pieces[:-1]:
            self._open += piece
            line = bytes(self._open) + b"\n"
            self._open.clear()
            if self._is_skipping:
                self._is_skipping = False
                self.line += 1
                continue
            if self._lines and self._size + len(line) > MAX_CHUNK_BYTES:
                yield from self.whole_lines()
            self._lines.append(line)
            self._size += len(line)
            if len(self._lines) == MAX_LINES:
                yield from self.whole_lines()
        self._open += pieces[-1]
        if self._is_skipping:
            self._open.clear()
        elif len(self._open) > MAX_LINE_BYTES:
            yield from self.whole_lines()
            yield Chunk(self.line, self.rest(), Reason.LINE_TOO_LONG)
            self._is_skipping = True

    def whole_lines(self) -> Iterator[Chunk]:
        if self._lines:
            chunk = Chunk(self.line, b"".join(self._lines))
            self.line += len(self._lines)
            self._lines, self._size = [], 0
            yield chunk

    def end(self) -> None:
        """The file ended as it should: what was read of a last line without its end is a line."""
        if rest := self.rest():
            self._lines.append(rest)

    def rest(self) -> bytes:
        rest = bytes(self._open)
        self._open.clear()
        return rest


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
