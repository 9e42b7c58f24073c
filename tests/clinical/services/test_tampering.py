"""Whoever can write to the database unhindered cannot change what was, without it being found.

Each kind of tampering is done by a superuser with every trigger off. It is found by verification, by
whoever kept an earlier checkpoint (a witness does), or because an entry stays without a leaf.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, text

from clinical.audit.entry import AuditEntry
from clinical.audit.proof import is_consistent
from clinical.audit.tree import Frontier, TreeHead
from clinical.errors import NotFoundError
from tests.clinical.services.conftest import World

pytestmark = pytest.mark.integration

_SIZE, _AT = 37, 20


@contextmanager
def _as_intruder(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # no triggers
        yield connection


def _do(statement: str, **values: object) -> Callable[[Connection, World], None]:
    return lambda connection, _: connection.execute(text(statement), {"at": _AT, **values}) and None


_ENTRY_AT = "(SELECT entry_id FROM audit_leaves WHERE leaf_index = :at)"
_EDIT = f"UPDATE audit_entries SET actor = 'mallory' WHERE entry_id = {_ENTRY_AT}"


def _entries(connection: Connection, world: World) -> list[AuditEntry]:
    """In the order of the leaves, as the intruder left them."""
    order = "SELECT entry_id FROM audit_leaves ORDER BY leaf_index"
    ids = connection.execute(text(order)).scalars().all()
    with world.open_unit_of_work() as uow:
        uow.audit_log._connection = connection  # type: ignore[attr-defined]  # sees what is not committed
        held = {entry.entry_id: entry for _, entry, _ in uow.audit_log.sequenced()}
    return [held[entry_id] for entry_id in ids]


def _edit_and_leaf(connection: Connection, world: World) -> None:
    connection.execute(text(_EDIT), {"at": _AT})
    for index, entry in enumerate(_entries(connection, world)):
        leaf = "UPDATE audit_leaves SET leaf_hash = :hash WHERE leaf_index = :index"
        connection.execute(text(leaf), {"hash": entry.leaf_hash, "index": index})


def _grow_again(connection: Connection, world: World) -> Iterator[tuple[Frontier, list[tuple]]]:
    frontier = Frontier()
    for entry in _entries(connection, world):
        completed = frontier.append(entry.leaf_hash)
        yield frontier, completed


def _edit_up_to_the_nodes(connection: Connection, world: World) -> None:
    _edit_and_leaf(connection, world)
    node = "UPDATE audit_nodes SET hash = :hash WHERE height = :height AND place = :place"
    for _, completed in _grow_again(connection, world):
        for height, place, value in completed[1:]:
            found = {"hash": value, "height": height, "place": place}
            connection.execute(text(node), found)


def _edit_up_to_the_heads(connection: Connection, world: World) -> None:
    _edit_up_to_the_nodes(connection, world)
    head = "UPDATE audit_heads SET root = :root, peak_hashes = :peaks WHERE size = :size"
    for frontier, _ in _grow_again(connection, world):
        peaks = [value for _, value in frontier.peaks]
        root = {"root": frontier.head().root, "peaks": peaks, "size": frontier.size}
        connection.execute(text(head), root)


def _swap_leaves(connection: Connection, world: World) -> None:
    order = (
        "SELECT entry_id FROM audit_leaves WHERE leaf_index IN (:at, :at + 1) ORDER BY leaf_index"
    )
    first, second = connection.execute(text(order), {"at": _AT}).scalars().all()
    move = "UPDATE audit_leaves SET entry_id = :id WHERE leaf_index = :index"
    for entry_id, index in ((uuid4(), _AT), (first, _AT + 1), (second, _AT)):
        connection.execute(text(move), {"id": entry_id, "index": index})


def _insert(connection: Connection, world: World) -> None:
    """One more entry, the copy of another, in the middle of the leaves."""
    copy = f"""INSERT INTO audit_entries SELECT :id, at, kind, actor, refs, request_id
        FROM audit_entries WHERE entry_id = {_ENTRY_AT}"""
    new = uuid4()
    connection.execute(text(copy), {"id": new, "at": _AT})
    connection.execute(
        text("UPDATE audit_leaves SET leaf_index = leaf_index + 1000 WHERE leaf_index >= :at"),
        {"at": _AT},
    )
    connection.execute(
        text("UPDATE audit_leaves SET leaf_index = leaf_index - 999 WHERE leaf_index >= 1000")
    )
    entry = "INSERT INTO audit_leaves VALUES (:at, :id, :hash)"
    leaf = hashlib.sha256(b"\x00whatever").digest()
    connection.execute(text(entry), {"at": _AT, "id": new, "hash": leaf})


def _cut_the_tail(connection: Connection, world: World) -> None:
    doomed = "SELECT entry_id FROM audit_leaves WHERE leaf_index >= :at"
    ids = connection.execute(text(doomed), {"at": _AT}).scalars().all()
    for statement in (
        "DELETE FROM audit_leaves WHERE leaf_index >= :at",
        "DELETE FROM audit_nodes WHERE (place + 1) << height > :at",
        "DELETE FROM audit_heads WHERE size > :at",
    ):
        connection.execute(text(statement), {"at": _AT})
    for table in ("audit_openings", "audit_entries"):
        statement = f"DELETE FROM {table} WHERE entry_id = ANY(:ids)"
        connection.execute(text(statement), {"ids": ids})
    deliveries = "DELETE FROM deliveries WHERE delivery_id NOT IN (SELECT (refs->>'delivery')::uuid FROM audit_entries)"
    connection.execute(text(deliveries))


_FOUND_BY_VERIFYING = {
    "an entry edited": _do(_EDIT),
    "an entry edited with its leaf": _edit_and_leaf,
    "an entry edited with its leaf and all nodes": _edit_up_to_the_nodes,
    "a leaf deleted": _do("DELETE FROM audit_leaves WHERE leaf_index = :at"),
    "a leaf edited": _do("UPDATE audit_leaves SET leaf_hash = '\\x00' WHERE leaf_index = :at"),
    "a node edited": _do("UPDATE audit_nodes SET hash = '\\x00' WHERE height = 2 AND place = 1"),
    "a node deleted": _do("DELETE FROM audit_nodes WHERE height = 1 AND place = 3"),
    "a node added": _do("INSERT INTO audit_nodes VALUES (5, 1, '\\x00')"),
    "a head edited": _do("UPDATE audit_heads SET root = '\\x00' WHERE size = :at"),
    "two leaves exchanged": _swap_leaves,
    "an entry inserted, the copy of another": _insert,
    "the bytes of a delivery exchanged": _do(
        "UPDATE deliveries SET body = '{}' WHERE sender_id = '7'"
    ),
    "a delivery deleted": _do("DELETE FROM deliveries WHERE sender_id = '7'"),
    "a salt exchanged": _do("UPDATE audit_openings SET salt = sha256('salt')"),
    "a salt deleted": _do(f"DELETE FROM audit_openings WHERE entry_id = {_ENTRY_AT}"),
    "a delivery deleted with its salt": _do(
        f"""WITH gone AS (DELETE FROM audit_openings WHERE entry_id = {_ENTRY_AT} RETURNING entry_id)
        DELETE FROM deliveries WHERE delivery_id IN (SELECT (refs->>'delivery')::uuid
        FROM audit_entries JOIN gone USING (entry_id))"""
    ),
}
_FOUND_BY_WHO_REMEMBERS = {
    "everything rewritten consistently": _edit_up_to_the_heads,
    "the tail cut off": _cut_the_tail,
}


@pytest.fixture
def remembered(world: World) -> TreeHead:
    """A log with a head for each of its sizes, and its last head as a witness keeps it."""
    for number in range(_SIZE):
        body = b'{"number": %d}' % number
        world.intake.receive(world.delivery(body, sender_id=str(number)), world.act())
        assert world.audit.sequence() == 1
    report = world.audit.verify()
    assert report.is_sound
    assert (report.num_entries, report.payloads.num_checked) == (_SIZE, _SIZE)
    return report.head


@pytest.mark.parametrize("kind", _FOUND_BY_VERIFYING)
def test_verification_finds(world: World, engine: Engine, remembered: TreeHead, kind: str) -> None:
    with _as_intruder(engine) as connection:
        _FOUND_BY_VERIFYING[kind](connection, world)
    report = world.audit.verify()
    assert not report.is_sound
    if "leaf" in kind.split() or kind == "an entry edited":
        with_leaf = {"an entry edited with its leaf", "an entry edited with its leaf and all nodes"}
        assert report.first_bad_index == (None if kind in with_leaf else _AT)


@pytest.mark.parametrize("kind", _FOUND_BY_WHO_REMEMBERS)
def test_who_kept_a_checkpoint_finds(
    world: World, engine: Engine, remembered: TreeHead, kind: str
) -> None:
    with _as_intruder(engine) as connection:
        _FOUND_BY_WHO_REMEMBERS[kind](connection, world)
    assert world.audit.verify().is_sound  # all of it agrees with itself
    for _ in range(_SIZE):  # and goes on as if nothing had been
        sender = str(world.identities.new())
        world.intake.receive(world.delivery(b"{}", sender_id=sender), world.act())
    world.audit.sequence()
    head = world.audit.verify().head
    assert head.size > remembered.size
    assert not is_consistent(remembered, head, world.audit.growth(remembered.size, head.size))


def test_a_log_that_got_shorter_cannot_show_its_growth(
    world: World, engine: Engine, remembered: TreeHead
) -> None:
    with _as_intruder(engine) as connection:
        _cut_the_tail(connection, world)
    with pytest.raises(NotFoundError):
        world.audit.growth(remembered.size, remembered.size)


def test_an_entry_that_is_kept_from_the_tree_stays_in_sight(
    world: World, engine: Engine, remembered: TreeHead
) -> None:
    world.intake.receive(world.delivery(b"{}", sender_id="late"), world.act())
    with _as_intruder(engine) as connection:
        connection.execute(text("DELETE FROM audit_pending"))
    assert world.audit.sequence() == 0
    assert world.audit.verify().num_unsequenced == 1
