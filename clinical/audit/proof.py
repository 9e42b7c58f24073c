"""Proofs that an entry is in the log, and that a log only grew.

Verified as in RFC 9162 sections 2.1.3.2 and 2.1.4.2; index and sizes are bound, never optional.
"""

from collections.abc import Sequence

from clinical.audit.ranges import consistency_ranges, inclusion_ranges
from clinical.audit.tree import EMPTY_ROOT, TreeHead, node_hash, root_of
from clinical.errors import OperationalError


class NotYetSequencedError(OperationalError):
    """The entry has no leaf in the tree yet, or none under a signed head; it gets one within seconds."""

    code = "audit.not_yet_sequenced"


def inclusion_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The audit path of leaf `index` in the tree over `leaves`, from the leaf upward."""
    return [root_of(leaves[low:high]) for low, high in inclusion_ranges(index, len(leaves))]


def consistency_path(old: int, leaves: Sequence[bytes]) -> list[bytes]:
    """What proves that the tree over `leaves` continues the one over the first `old` of them."""
    return [root_of(leaves[low:high]) for low, high in consistency_ranges(old, len(leaves))]


def is_included(leaf: bytes, index: int, path: Sequence[bytes], head: TreeHead) -> bool:
    """Whether `path` proves that `leaf` stands at `index` under `head`; index and size are bound."""
    if not 0 <= index < head.size:
        return False
    node, last, value = index, head.size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            value = node_hash(sibling, value)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and value == head.root


def is_consistent(old: TreeHead, new: TreeHead, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the log of `new` begins with the log of `old`."""
    if old.size > new.size or (old.size == 0 and old.root != EMPTY_ROOT):
        return False
    if old.size in (0, new.size):
        return not path and (old.size == 0 or old.root == new.root)
    return _grew(old, new, list(path))


def _grew(old: TreeHead, new: TreeHead, path: list[bytes]) -> bool:
    if old.size & (old.size - 1) == 0:  # a power of two: the old root is a subtree of the new one
        path = [old.root, *path]
    if not path:
        return False
    node, last = old.size - 1, new.size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and before == old.root and after == new.root
