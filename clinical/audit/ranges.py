"""Which parts of the log a proof is made of: half-open ranges of leaves, and the perfect subtrees that cover them.

A proof needs only the hashes of these subtrees, O(log² n) of them, never the leaves. Knows numbers alone.
"""

from collections.abc import Callable, Mapping, Sequence

from clinical.audit.tree import largest_power_below, node_hash

Range = tuple[int, int]
"""Leaves from the first number up to, not including, the second."""
Node = tuple[int, int]
"""The perfect subtree of this height, at this place among those of its height."""


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The siblings of leaf `index` in a tree of `size` leaves, from the leaf upward (RFC 6962 section 2.1.1)."""
    low, high, found = 0, size, list[Range]()
    while high - low > 1:
        split = low + largest_power_below(high - low)
        if index < split:
            found.append((split, high))
            high = split
        else:
            found.append((low, split))
            low = split
    return found[::-1]


def consistency_ranges(old: int, size: int) -> list[Range]:
    """What proves that the first `old` of `size` leaves were there before (RFC 6962 section 2.1.2).

    Nothing where the two are equal, or where `old` is 0: every log begins with nothing.
    """
    if not 0 < old < size:
        return []
    low, high, kept, is_whole = 0, size, old, True
    found = list[Range]()
    while kept != high - low:
        split = largest_power_below(high - low)
        if kept <= split:
            found.append((low + split, high))
            high = low + split
        else:
            found.append((low, low + split))
            low, kept, is_whole = low + split, kept - split, False
    return [*([] if is_whole else [(low, high)]), *found[::-1]]


def cover(part: Range) -> list[Node]:
    """The perfect subtrees that make up a range of a proof, from left to right."""
    low, high = part
    found = []
    while low < high:
        height = (high - low).bit_length() - 1
        found.append((height, low >> height))
        low += 1 << height
    return found


def root_from(part: Range, node: Callable[[Node], bytes]) -> bytes:
    """The Merkle tree hash over a range, from the hashes of its subtrees."""
    hashes = [node(each) for each in cover(part)]
    value = hashes[-1]
    for left in reversed(hashes[:-1]):
        value = node_hash(left, value)
    return value


def path_from(parts: Sequence[Range], node: Callable[[Node], bytes]) -> list[bytes]:
    """The hashes of a proof."""
    return [root_from(part, node) for part in parts]


def stored_path(
    parts: Sequence[Range], fetch: Callable[[list[Node]], Mapping[Node, bytes]]
) -> list[bytes]:
    """The hashes of a proof, all its subtrees fetched at once."""
    stored = fetch([node for part in parts for node in cover(part)])
    return path_from(parts, stored.__getitem__)
