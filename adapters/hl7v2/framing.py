"""MLLP: messages cut out of a stream of bytes, `<VT> message <FS><CR>` each.

Knows where a message begins and ends. Does not look into one. The kept libraries' readers do not keep
the bytes as received, or lose a message that comes after noise (see DECISIONS).
"""

from collections.abc import Iterator
from dataclasses import dataclass

START = b"\x0b"
END = b"\x1c\x0d"
_HEAD_BYTES = 4096  # enough of an oversize message to answer it by its MSH


def framed(message: bytes) -> bytes:
    """The message as it travels."""
    return START + message + END


@dataclass(frozen=True, slots=True)
class Frame:
    """A message as received; of one that `is_oversize` only its beginning."""

    body: bytes
    is_oversize: bool = False


class Framer:
    """Give it what was read, in whatever pieces; it holds at most `max_bytes` and some.

    Bytes between messages are dropped and counted in `num_noise`: keep-alives, line ends. A new start
    within a message means that the sender gave the first one up: its bytes are noise too, and as
    nothing was acknowledged it will come again.
    """

    def __init__(self, max_bytes: int) -> None:
        """Nothing was read."""
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._is_inside = False
        self._head: bytes | None = None  # of the oversize message that is being skipped
        self._scanned = 0
        self.num_noise = 0

    @property
    def is_inside(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._is_inside

    def add(self, piece: bytes) -> Iterator[Frame]:
        """Every message that is whole now."""
        self._buffer += piece
        while True:
            if not self._is_inside and not self._begin():
                return
            start = self._buffer.find(START, self._scanned)
            end = self._buffer.find(END, self._scanned, start if start >= 0 else len(self._buffer))
            if end >= 0:
                yield self._finish(end)
            elif start >= 0:
                self._abandon(start)
            else:
                self._bound()
                return

    def _begin(self) -> bool:
        start = self._buffer.find(START)
        self.num_noise += len(self._buffer) if start < 0 else start
        del self._buffer[: len(self._buffer) if start < 0 else start + 1]
        self._is_inside, self._scanned = start >= 0, 0
        return self._is_inside

    def _finish(self, end: int) -> Frame:
        body, head = bytes(self._buffer[:end]), self._head
        del self._buffer[: end + len(END)]
        self._is_inside, self._head, self._scanned = False, None, 0
        if head is not None or len(body) > self._max_bytes:
            return Frame((head or body)[:_HEAD_BYTES], is_oversize=True)
        return Frame(body)

    def _abandon(self, start: int) -> None:
        self.num_noise += start
        del self._buffer[:start]
        self._is_inside, self._head, self._scanned = False, None, 0

    def _bound(self) -> None:
        """Go on from here at the next piece; of an oversize message keep no more than its head."""
        if self._head is not None or len(self._buffer) > self._max_bytes:
            if self._head is None:
                self._head = bytes(self._buffer[:_HEAD_BYTES])
            del self._buffer[:-1]
        self._scanned = max(0, len(self._buffer) - 1)  # its last byte may be half of an end
