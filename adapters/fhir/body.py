"""The bytes of a delivery, opened: decompressed under a cap, and bounded before anything parses them."""

import re
import zlib
from collections.abc import Iterable, Iterator

from adapters.fhir.errors import DeliveryError, Reason, RecordError

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Of one body, decompressed. NDJSON files have no limit: they are cut into deliveries first."""
MAX_EXPANDED_BYTES = 1024 * 1024 * 1024
MAX_RATIO = 100
MAX_DEPTH = 64
_RATIO_COUNTS_FROM = 1024 * 1024
_CHUNK = 64 * 1024
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def opened(body: bytes, *, is_gzip: bool) -> bytes:
    """The JSON text of a body, decompressed where it `is_gzip`, its byte order mark left out.

    Raises:
        DeliveryError: not gzip, cut off, a decompression bomb, or larger than `MAX_BODY_BYTES`.
    """
    if is_gzip:
        chunks = (body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK))
        body = b"".join(expanded(chunks, max_bytes=MAX_BODY_BYTES))
    if len(body) > MAX_BODY_BYTES:
        raise DeliveryError(Reason.TOO_LARGE, "the body is larger than 16 MiB; send NDJSON")
    return body.removeprefix(_BYTE_ORDER_MARK)


def expanded(chunks: Iterable[bytes], *, max_bytes: int | None = None) -> Iterator[bytes]:
    """Decompress gzip (of one or several members) piece by piece; what came before an error was yielded.

    Raises:
        DeliveryError: not gzip, cut off, more than `max_bytes`, or more than 100 times what went in.
    """
    member = zlib.decompressobj(_GZIP_WINDOW)
    num_in = num_out = 0
    for chunk in chunks:
        num_in += len(chunk)
        pending = chunk
        while pending:
            if member.eof:
                member = zlib.decompressobj(_GZIP_WINDOW)
            try:
                piece = member.decompress(pending, _CHUNK * 16)
            except zlib.error as error:
                raise DeliveryError(Reason.NOT_GZIP, "the bytes are not gzip") from error
            num_out += len(piece)
            _check_expansion(num_in, num_out, max_bytes)
            if piece:
                yield piece
            pending = member.unused_data if member.eof else member.unconsumed_tail
    if not member.eof:
        raise DeliveryError(Reason.TRUNCATED_FILE, "the compressed bytes end too early")


def _check_expansion(num_in: int, num_out: int, max_bytes: int | None) -> None:
    if num_out > _RATIO_COUNTS_FROM and num_out > MAX_RATIO * num_in:
        raise DeliveryError(
            Reason.DECOMPRESSION_BOMB, "the bytes expand to more than 100 times their size"
        )
    if max_bytes is not None and num_out > max_bytes:
        raise DeliveryError(Reason.TOO_LARGE, "the body is larger than 16 MiB; send NDJSON")


def check_depth(raw: bytes) -> None:
    """Refuse JSON nested deeper than 64 levels; raises RecordError.

    Few brackets cannot nest deep, so most records are only counted.
    """
    if raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKENS.finditer(raw):
        first = raw[token.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise RecordError(Reason.TOO_DEEP, "the record is nested deeper than 64 levels")
        elif first in b"]}":
            depth -= 1
