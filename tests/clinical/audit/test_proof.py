"""Proofs of inclusion and of growth: all of many sizes verify, and not one of many false ones does."""

import hashlib
import random
from collections.abc import Iterator
from functools import cache

import pytest

from clinical.audit.proof import consistency_path, inclusion_path, is_consistent, is_included
from clinical.audit.ranges import Node, consistency_ranges, cover, inclusion_ranges, path_from
from clinical.audit.tree import EMPTY_ROOT, Frontier, TreeHead, root_of

SIZES = (*range(1, 70), 127, 128, 129, 255, 257)
LEAVES = [hashlib.sha256(b"\x00%d" % number).digest() for number in range(max(SIZES))]


@cache
def head(size: int) -> TreeHead:
    return TreeHead(size, root_of(LEAVES[:size]))


@cache
def stored(node: Node) -> bytes:
    height, place = node
    return root_of(LEAVES[place << height : (place + 1) << height])


def mutations(path: list[bytes], luck: random.Random) -> Iterator[list[bytes]]:
    """One bit of each hash, one hash less, one twice, two exchanged."""
    for place, value in enumerate(path):
        flipped = int.from_bytes(value) ^ 1 << luck.randrange(256)
        yield [*path[:place], flipped.to_bytes(32), *path[place + 1 :]]
    if path:
        yield path[:-1]
        yield path[1:]
        yield [*path, path[-1]]
    if len(path) > 1 and path[0] != path[1]:
        yield [path[1], path[0], *path[2:]]


def test_every_inclusion_of_many_sizes_is_proven_and_no_mutation_is() -> None:
    luck, proven, refused = random.Random(0), 0, 0
    for size in SIZES:
        for index in range(size):
            path = inclusion_path(index, LEAVES[:size])
            assert is_included(LEAVES[index], index, path, head(size))
            proven += 1
            for other in mutations(path, luck):
                assert not is_included(LEAVES[index], index, other, head(size))
                refused += 1
            assert not is_included(LEAVES[index], (index + 1) % size or size, path, head(size))
            refused += 1
    assert proven >= 3_000
    assert refused >= 16_000


@pytest.mark.parametrize("size", [*range(1, 40), 64, 65, 129])
def test_every_growth_is_proven_and_no_mutation_is(size: int) -> None:
    luck = random.Random(size)
    for old in range(size + 1):
        path = consistency_path(old, LEAVES[:size])
        assert is_consistent(head(old) if old else TreeHead(0, EMPTY_ROOT), head(size), path)
        if not path:
            continue
        for other in mutations(path, luck):
            assert not is_consistent(head(old), head(size), other)
        assert not is_consistent(TreeHead(old, LEAVES[0][::-1]), head(size), path)
        assert not is_consistent(head(old), TreeHead(size, LEAVES[0][::-1]), path)
        assert old == 1 or not is_consistent(head(old - 1), head(size), path)


def test_a_shorter_log_and_another_log_of_the_same_length_are_refused() -> None:
    assert not is_consistent(head(5), head(4), [])
    assert not is_consistent(head(5), TreeHead(5, head(4).root), [])
    assert not is_consistent(TreeHead(0, head(4).root), head(5), [])
    assert not is_consistent(head(5), head(5), [LEAVES[0]])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 100, 257])
def test_stored_subtrees_make_the_same_proofs_as_the_leaves(size: int) -> None:
    for index in range(size):
        ranges = inclusion_ranges(index, size)
        assert path_from(ranges, stored) == inclusion_path(index, LEAVES[:size])
        ranges = consistency_ranges(index, size)
        assert path_from(ranges, stored) == consistency_path(index, LEAVES[:size])


def test_a_range_is_covered_by_perfect_subtrees_without_gap_or_overlap() -> None:
    for part in ((0, 13), (8, 13), (4, 8), (12, 13)):
        covered = [
            leaf
            for height, place in cover(part)
            for leaf in range(place << height, (place + 1) << height)
        ]
        assert covered == list(range(*part))


def test_appending_tells_every_perfect_subtree_once() -> None:
    frontier, found = Frontier(), dict[Node, bytes]()
    for leaf in LEAVES[:37]:
        for height, place, value in frontier.append(leaf):
            assert (height, place) not in found
            found[height, place] = value
    assert found == {
        (height, place): stored((height, place))
        for height in range(6)
        for place in range(37 >> height)
    }
