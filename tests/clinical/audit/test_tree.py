"""The Merkle tree is that of RFC 6962, and no false proof passes."""

import hashlib
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.audit.entry import Act, AuditKind
from clinical.audit.proof import inclusion_path, is_included
from clinical.audit.tree import EMPTY_ROOT, Frontier, TreeHead, root_of

# The eight leaves and the root that the Certificate Transparency projects test against.
_LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
_ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def leaf(content: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + content).digest()


def leaves(count: int) -> list[bytes]:
    return [leaf(str(n).encode()) for n in range(count)]


def test_the_published_test_tree_is_reproduced() -> None:
    assert root_of([leaf(bytes.fromhex(text)) for text in _LEAVES]).hex() == _ROOT


@pytest.mark.parametrize("count", [*range(70), 127, 128, 129, 255, 257])
def test_appending_one_by_one_gives_the_root_by_definition(count: int) -> None:
    frontier = Frontier()
    for value in leaves(count):
        frontier.append(value)
    assert frontier.head() == TreeHead(count, root_of(leaves(count)))
    assert Frontier(frontier.peaks).head() == frontier.head()


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().head() == TreeHead(0, EMPTY_ROOT)
    assert root_of([]) == EMPTY_ROOT


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13, 33])
def test_every_leaf_is_proven_and_nothing_else(count: int) -> None:
    values = leaves(count)
    head = TreeHead(count, root_of(values))
    for index, value in enumerate(values):
        path = inclusion_path(index, values)
        assert is_included(value, index, path, head)
        assert not is_included(leaf(b"another"), index, path, head)
        assert not is_included(value, index + 1, path, head)
        assert not is_included(value, index, [*path, value], head)
        assert not is_included(value, -1, path, head)
        if path:
            assert not is_included(value, index, path[:-1], head)
            assert not is_included(
                value, index, path, TreeHead(count + 1, root_of(leaves(count + 1)))
            )


@given(count=st.integers(2, 60), data=st.data())
def test_a_mutated_proof_is_refused(count: int, data: st.DataObject) -> None:
    values = leaves(count)
    index = data.draw(st.integers(0, count - 1))
    path = inclusion_path(index, values)
    place, bit = data.draw(st.integers(0, len(path) - 1)), data.draw(st.integers(0, 255))
    flipped = int.from_bytes(path[place]) ^ 1 << bit
    path[place] = flipped.to_bytes(32)
    assert not is_included(values[index], index, path, TreeHead(count, root_of(values)))


def test_an_entry_is_hashed_over_all_its_fields() -> None:
    act = Act(actor="dr-a", at=datetime(2024, 1, 1, tzinfo=UTC), request_id="r")
    entry = act.entry(UUID(int=1), AuditKind.REVIEW_SIGNED, review=UUID(int=2), version=3)
    other = Act(actor="dr-b", at=act.at, request_id="r")
    assert entry.canonical() == (
        b'{"actor":"dr-a","at":"2024-01-01T00:00:00+00:00",'
        b'"entry_id":"00000000-0000-0000-0000-000000000001","kind":"review.signed.v1",'
        b'"refs":{"review":"00000000-0000-0000-0000-000000000002","version":"3"},"request_id":"r"}'
    )
    same = other.entry(UUID(int=1), AuditKind.REVIEW_SIGNED, review=UUID(int=2), version=3)
    assert entry.leaf_hash == leaf(entry.canonical()) != same.leaf_hash


def test_canonical_bytes_are_those_of_rfc_8785() -> None:
    import rfc8785

    act = Act(actor='Dr Żółć "q" \\ \u2028', at=datetime(2024, 1, 1, tzinfo=UTC))
    entry = act.entry(UUID(int=1), AuditKind.REVIEW_READ, zeta="é\n", alpha="")
    fields = {
        "actor": entry.actor,
        "at": entry.at.isoformat(),
        "entry_id": str(entry.entry_id),
        "kind": entry.kind.value,
        "refs": entry.refs,
        "request_id": "",
    }
    assert entry.canonical() == rfc8785.dumps(fields)
