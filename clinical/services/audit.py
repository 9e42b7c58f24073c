"""J4: give the audit log its tree, and verify it."""

from dataclasses import dataclass

from clinical.audit.tree import Frontier, TreeHead
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

    def verify(self) -> LogReport:
        """Recompute every leaf from its entry and every head from its leaves."""
        frontier = Frontier()
        with self.open_unit_of_work() as uow:
            heads = {head.size: head.root for head in uow.audit_log.heads()}
            bad_index, bad_heads = None, []
            for index, entry, stored in uow.audit_log.sequenced():
                if bad_index is None and (index != frontier.size or entry.leaf_hash != stored):
                    bad_index = frontier.size
                frontier.append(entry.leaf_hash)
                if heads.get(frontier.size, frontier.head().root) != frontier.head().root:
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
