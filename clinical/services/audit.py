"""J4: give the audit log its tree, and verify it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from clinical.audit.entry import AuditEntry, AuditKind
from clinical.audit.proof import NotYetSequencedError
from clinical.audit.ranges import consistency_ranges, inclusion_ranges, stored_path
from clinical.audit.tree import Frontier, TreeHead
from clinical.errors import NotFoundError
from clinical.services.ports import Clock, OpenUnitOfWork, UnitOfWork

_BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """What verification found; `first_bad_index` is the leaf where log and tree part, if any.

    That is also the first missing one, where a head tells of more leaves than there are.
    """

    num_entries: int
    num_unsequenced: int
    head: TreeHead
    first_bad_index: int | None
    bad_head_sizes: tuple[int, ...]
    num_bad_nodes: int
    payloads: "PayloadReport"

    @property
    def is_sound(self) -> bool:
        """Whether every entry hashes to its leaf, the tree is that of its leaves, and payloads agree."""
        is_tree = self.first_bad_index is None and not self.bad_head_sizes
        return is_tree and not self.num_bad_nodes and self.payloads.is_sound


@dataclass(slots=True, kw_only=True)
class PayloadReport:
    """Whether what entries seal is still what is stored.

    `num_without_salt` entries can no longer be opened; erasures told of `num_erased` such. An entry
    is bad where its salt does not open it to what is stored now, or one of the two is gone alone.
    """

    num_checked: int = 0
    num_without_salt: int = 0
    num_erased: int = 0
    bad: list[UUID] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether all agrees, and no more is gone than erasures told of: one may come meanwhile."""
        return not self.bad and self.num_without_salt <= self.num_erased

    def add(
        self,
        entry: AuditEntry,
        salt: bytes | None,
        held: Mapping[str, str] | None,
        *,
        is_kept: bool,
    ) -> None:
        """Judge an entry by its salt and what is `held`, if it seals something that `is_kept`."""
        if salt is None:
            self.num_without_salt += 1
            is_good = held is None
        elif not is_kept:
            return
        else:
            is_good = held is not None and all(
                entry.vouches_for(name, held.get(name, ""), salt) for name in entry.sealed_refs
            )
        self.num_checked += 1
        if not is_good:
            self.bad.append(entry.entry_id)


@dataclass(frozen=True, slots=True)
class Inclusion:
    """An entry, its place, and the hashes that lead from it to the root of `head`."""

    index: int
    entry: AuditEntry
    path: list[bytes]
    head: TreeHead


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditService:
    """Sequences and verifies the audit log."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock

    def sequence(self) -> int:
        """Give every entry that has none its leaf in the tree; returns how many got one."""
        total = 0
        while True:
            with self.open_unit_of_work() as uow:
                count = uow.audit_log.sequence(_BATCH, self.clock.now())
                uow.commit()
            total += count
            if count < _BATCH:
                return total

    def proof_of(self, entry_id: UUID) -> Inclusion:
        """That the entry stands under the newest head, from O(log² n) stored hashes.

        Raises:
            NotYetSequencedError: it has no leaf yet, or entries still wait and it may be among them.
            NotFoundError
        """
        with self.open_unit_of_work() as uow:
            head, found = uow.audit_log.head(), uow.audit_log.leaf_of(entry_id)
            if found is None or found[0] >= head.size:
                if uow.audit_log.unsequenced():
                    raise NotYetSequencedError("no leaf of this entry yet, and some entries wait")
                raise NotFoundError("no audit entry has this id")
            index, entry = found
            path = stored_path(inclusion_ranges(index, head.size), uow.audit_log.nodes)
        return Inclusion(index, entry, path, head)

    def growth(self, old: int, size: int) -> list[bytes]:
        """What proves that the log of `size` entries begins with its first `old`.

        Raises:
            NotFoundError: the log was never of that size.
        """
        with self.open_unit_of_work() as uow:
            if not 0 <= old <= size <= uow.audit_log.head().size:
                raise NotFoundError("the log has not been that long")
            return stored_path(consistency_ranges(old, size), uow.audit_log.nodes)

    def verify(self) -> LogReport:
        """Recompute every leaf, every node, every head, and what every commitment stands for."""
        frontier, payloads, page = Frontier(), PayloadReport(), list[AuditEntry]()
        with self.open_unit_of_work() as uow:
            heads = {head.size: head.root for head in uow.audit_log.heads()}
            bad_index, bad_heads = None, []
            for index, entry, stored in uow.audit_log.sequenced():
                leaf = entry.leaf_hash
                if bad_index is None and (index != frontier.size or leaf != stored):
                    bad_index = frontier.size
                frontier.append(leaf)
                told = heads.get(frontier.size)
                if told is not None and told != frontier.head().root:
                    bad_heads.append(frontier.size)
                page.append(entry)
                if len(page) == _BATCH:
                    _judge(uow, payloads, page)
                    page.clear()
            _judge(uow, payloads, page)
            missing = [size for size in heads if size > frontier.size]
            if missing and bad_index is None:
                bad_index = frontier.size
            bad_heads += missing
            unsequenced = uow.audit_log.unsequenced()
            num_bad_nodes = uow.audit_log.num_bad_nodes(frontier.size)
            payloads.num_erased = uow.audit_log.num_erased()
        return LogReport(
            num_entries=frontier.size,
            num_unsequenced=unsequenced,
            head=frontier.head(),
            first_bad_index=bad_index,
            bad_head_sizes=tuple(bad_heads),
            num_bad_nodes=num_bad_nodes,
            payloads=payloads,
        )


def _judge(uow: UnitOfWork, report: PayloadReport, page: Sequence[AuditEntry]) -> None:
    """Hold the entries of a page that seal something against what is stored."""
    sealing = [e for e in page if e.sealed_refs and e.kind is not AuditKind.PATIENT_ERASED]
    if not sealing:
        return
    salts = uow.audit_log.salts([entry.entry_id for entry in sealing])
    contents = uow.payloads.contents(sealing)
    for entry in sealing:
        is_kept = entry.entry_id in contents
        salt = salts.get(entry.entry_id)
        report.add(entry, salt, contents.get(entry.entry_id), is_kept=is_kept)
