"""The Merkle tree of RFC 6962 section 2.1 over the leaf hashes of the audit log."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


def node_hash(left: bytes, right: bytes) -> bytes:
    """`SHA-256(0x01 || left || right)`."""
    return hashlib.sha256(b"\x01" + left + right).digest()


EMPTY_ROOT = hashlib.sha256().digest()


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The size of the log and the root over all its leaves: whoever holds it can catch any edit."""

    size: int
    root: bytes


class Frontier:
    """The roots of the perfect subtrees on the right edge: all that appending needs, O(log n).

    `peaks` are `(height, hash)` from the largest to the smallest.
    """

    def __init__(self, peaks: Sequence[tuple[int, bytes]] = ()) -> None:
        """Start from stored peaks, or from an empty log."""
        self.peaks = list(peaks)
        self._size = sum(1 << height for height, _ in self.peaks)

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._size

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add one leaf hash, merging subtrees of equal height.

        Returns the perfect subtrees that this completed, the leaf itself first: height, place among
        those of this height, hash.
        """
        index, height, value = self.size, 0, leaf
        completed = [(0, index, leaf)]
        while self.peaks and self.peaks[-1][0] == height:
            value = node_hash(self.peaks.pop()[1], value)
            height += 1
            completed.append((height, index >> height, value))
        self.peaks.append((height, value))
        self._size += 1
        return completed

    def head(self) -> TreeHead:
        """The head over what was appended so far."""
        if not self.peaks:
            return TreeHead(0, EMPTY_ROOT)
        root = self.peaks[-1][1]
        for _, value in reversed(self.peaks[:-1]):
            root = node_hash(value, root)
        return TreeHead(self.size, root)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash of leaf hashes: `MTH` of RFC 6962, computed by its definition."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = largest_power_below(len(leaves))
    return node_hash(root_of(leaves[:split]), root_of(leaves[split:]))


def largest_power_below(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1
