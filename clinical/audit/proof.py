"""Inclusion proofs (RFC 6962 section 2.1.1, verified as in RFC 9162 section 2.1.3.2)."""

from collections.abc import Sequence

from clinical.audit.tree import TreeHead, largest_power_below, node_hash, root_of


def inclusion_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The audit path of leaf `index` in the tree over `leaves`, from the leaf upward."""
    if len(leaves) <= 1:
        return []
    split = largest_power_below(len(leaves))
    if index < split:
        return [*inclusion_path(index, leaves[:split]), root_of(leaves[split:])]
    return [*inclusion_path(index - split, leaves[split:]), root_of(leaves[:split])]


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
