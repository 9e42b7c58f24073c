"""J4: give the audit log its tree, and verify it."""

from dataclasses import dataclass
from uuid import UUID

from clinical.audit.entry import AuditEntry
from clinical.audit.proof import NotYetSequencedError
from clinical.audit.ranges import consistency_ranges, inclusion_ranges, stored_path
from clinical.audit.tree import Frontier, TreeHead
from clinical.errors import NotFoundError
from clinical.services.ports import Clock, OpenUnitOfWork

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

    @property
    def is_sound(self) -> bool:
        """Whether every entry still hashes to its leaf and every head is that of its leaves."""
        return self.first_bad_index is None and not self.bad_head_sizes


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
        """Recompute every leaf from its entry and every head from its leaves."""
        frontier = Frontier()
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
            missing = [size for size in heads if size > frontier.size]
            if missing and bad_index is None:
                bad_index = frontier.size
            bad_heads += missing
            unsequenced = uow.audit_log.unsequenced()
        return LogReport(
            num_entries=frontier.size,
            num_unsequenced=unsequenced,
            head=frontier.head(),
            first_bad_index=bad_index,
            bad_head_sizes=tuple(bad_heads),
        )
