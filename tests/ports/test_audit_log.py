"""Port AuditLog: every entry gets one leaf, in a tree that anybody can compute again."""

import random
import threading
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from adapters.db.errors import BrokenStorageError
from clinical.audit.entry import AuditEntry, AuditKind
from clinical.audit.proof import NotYetSequencedError, is_consistent, is_included
from clinical.audit.tree import EMPTY_ROOT, TreeHead, root_of
from clinical.errors import NotFoundError
from clinical.services.audit import AuditService
from clinical.services.ports import OpenUnitOfWork
from tests.fakes import NOON, SeededIdentities, SettableClock
from tests.ports.together import together

pytestmark = pytest.mark.integration


def _entries(count: int, seed: int = 0) -> list[AuditEntry]:
    identities = SeededIdentities(seed)
    return [
        AuditEntry(
            entry_id=identities.new(),
            at=NOON + timedelta(seconds=number),
            kind=AuditKind.REVIEW_READ,
            actor="dr-é",
            refs={"review": str(UUID(int=number % 3)), "what": "“quoted”\n"},
            request_id=f"r{number}",
        )
        for number in range(count)
    ]


def _append(open_unit_of_work: OpenUnitOfWork, entries: list[AuditEntry]) -> None:
    with open_unit_of_work() as uow:
        for entry in entries:
            uow.audit_log.append(entry)
        uow.commit()


def _sequence(open_unit_of_work: OpenUnitOfWork, limit: int = 1000) -> int:
    with open_unit_of_work() as uow:
        count = uow.audit_log.sequence(limit, NOON)
        uow.commit()
    return count


def _service(open_unit_of_work: OpenUnitOfWork) -> AuditService:
    return AuditService(open_unit_of_work=open_unit_of_work, clock=SettableClock())


def test_the_head_of_an_empty_log_is_that_of_the_empty_tree(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    with open_unit_of_work() as uow:
        assert uow.audit_log.head() == TreeHead(0, EMPTY_ROOT)
        assert uow.audit_log.sequence(10, NOON) == 0
        assert list(uow.audit_log.heads()) == []


def test_entries_come_back_as_they_were_with_leaves_in_order(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    entries = _entries(7)
    _append(open_unit_of_work, entries)
    with open_unit_of_work() as uow:
        assert uow.audit_log.unsequenced() == 7
    assert _sequence(open_unit_of_work) == 7
    with open_unit_of_work() as uow:
        assert uow.audit_log.unsequenced() == 0
        held = list(uow.audit_log.sequenced())
    assert held == [(index, entry, entry.leaf_hash) for index, entry in enumerate(entries)]


def test_any_steps_of_sequencing_end_in_the_head_of_all_leaves(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    chances = random.Random(4)
    entries = _entries(40)
    for first in range(0, len(entries), 8):
        _append(open_unit_of_work, entries[first : first + 8])
        while _sequence(open_unit_of_work, chances.randint(1, 4)):
            pass
    leaves = [entry.leaf_hash for entry in entries]
    with open_unit_of_work() as uow:
        assert [leaf for _, _, leaf in uow.audit_log.sequenced()] == leaves
        heads = list(uow.audit_log.heads())
        assert uow.audit_log.head() == heads[-1] == TreeHead(40, root_of(leaves))
    assert heads == [TreeHead(head.size, root_of(leaves[: head.size])) for head in heads]
    assert _service(open_unit_of_work).verify().is_sound


def test_a_slow_transaction_is_not_forgotten_because_a_later_one_was_sequenced(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    early, late = _entries(2)
    with open_unit_of_work() as slow:
        slow.audit_log.append(early)
        _append(open_unit_of_work, [late])
        assert _sequence(open_unit_of_work) == 1
        slow.commit()
    assert _sequence(open_unit_of_work) == 1
    with open_unit_of_work() as uow:
        assert [entry for _, entry, _ in uow.audit_log.sequenced()] == [late, early]


def test_sequencers_and_writers_at_once_give_every_entry_one_leaf(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    shares = [_entries(30, seed) for seed in range(1, 4)]
    has_written = threading.Event()

    def write(share: list[AuditEntry]) -> None:
        for entry in share:
            _append(open_unit_of_work, [entry])

    def sequence() -> None:
        while not has_written.is_set():
            _sequence(open_unit_of_work, 5)

    def write_all() -> None:
        try:
            assert together([partial(write, share) for share in shares]) == [None] * 3
        finally:
            has_written.set()

    assert together([write_all, sequence, sequence]) == [None] * 3
    assert _service(open_unit_of_work).sequence() >= 0
    report = _service(open_unit_of_work).verify()
    assert (report.num_entries, report.num_unsequenced, report.is_sound) == (90, 0, True)


def test_history_is_what_carries_the_refs_oldest_first(open_unit_of_work: OpenUnitOfWork) -> None:
    entries = _entries(9)
    _append(open_unit_of_work, entries[::-1])
    with open_unit_of_work() as uow:
        history = uow.audit_log.history(review=str(UUID(int=1)))
        assert history == [entries[1], entries[4], entries[7]]
        assert uow.audit_log.history(review=str(UUID(int=1)), what="else") == []


def test_what_was_rolled_back_left_no_entry(open_unit_of_work: OpenUnitOfWork) -> None:
    with open_unit_of_work() as uow:
        uow.audit_log.append(_entries(1)[0])
    with open_unit_of_work() as uow:
        assert uow.audit_log.unsequenced() == 0


def test_the_same_entry_twice_is_refused_without_telling_its_content(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    (entry,) = _entries(1)
    _append(open_unit_of_work, [entry])
    with pytest.raises(BrokenStorageError) as refusal:
        _append(open_unit_of_work, [entry])
    assert "pk_audit_entries" in str(refusal.value)
    assert str(entry.entry_id) not in str(refusal.value)


@pytest.mark.parametrize(
    ("table", "edit"),
    [
        (
            "audit_entries",
            "UPDATE audit_entries SET actor = 'somebody else' WHERE request_id = 'r3'",
        ),
        ("audit_leaves", "UPDATE audit_leaves SET leaf_hash = '\\x00' WHERE leaf_index = 3"),
        ("audit_leaves", "DELETE FROM audit_leaves WHERE leaf_index = 3"),
        ("audit_heads", "UPDATE audit_heads SET root = '\\x00'"),
    ],
)
def test_an_edit_behind_the_triggers_back_is_found_by_verification(
    open_unit_of_work: OpenUnitOfWork, engine: Engine, table: str, edit: str
) -> None:
    _append(open_unit_of_work, _entries(6))
    _sequence(open_unit_of_work)
    assert _service(open_unit_of_work).verify().is_sound
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER append_only"))
        connection.execute(text(edit))
    assert not _service(open_unit_of_work).verify().is_sound


def test_an_entry_whose_debt_was_deleted_still_counts_as_unsequenced(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    _append(open_unit_of_work, _entries(2))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM audit_pending"))
    assert _sequence(open_unit_of_work) == 0
    with open_unit_of_work() as uow:
        assert uow.audit_log.unsequenced() == 2


def test_proofs_come_from_stored_nodes_and_hold_for_every_entry_and_every_earlier_log(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    entries, heads = _entries(37), [TreeHead(0, EMPTY_ROOT)]
    for start in range(0, 37, 5):
        _append(open_unit_of_work, entries[start : start + 5])
        _sequence(open_unit_of_work)
        with open_unit_of_work() as uow:
            heads.append(uow.audit_log.head())
    service = _service(open_unit_of_work)
    for entry in entries:
        found = service.proof_of(entry.entry_id)
        assert found.entry == entry
        assert is_included(entry.leaf_hash, found.index, found.path, found.head)
        assert not is_included(entry.leaf_hash, found.index + 1, found.path, found.head)
    for old in heads:
        path = service.growth(old.size, heads[-1].size)
        assert is_consistent(old, heads[-1], path)
        assert len(path) <= 7
    other = TreeHead(heads[3].size, heads[2].root)
    assert not is_consistent(other, heads[-1], service.growth(other.size, heads[-1].size))


def test_an_entry_without_a_leaf_is_asked_for_again_and_one_that_never_was_is_not_found(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    service, (first, second) = _service(open_unit_of_work), _entries(2)
    _append(open_unit_of_work, [first])
    _sequence(open_unit_of_work)
    with pytest.raises(NotFoundError):
        service.proof_of(second.entry_id)
    _append(open_unit_of_work, [second])
    with pytest.raises(NotYetSequencedError):
        service.proof_of(second.entry_id)
    assert service.proof_of(first.entry_id).index == 0
    for old, size in ((0, 2), (2, 1), (-1, 1)):
        with pytest.raises(NotFoundError):
            service.growth(old, size)
