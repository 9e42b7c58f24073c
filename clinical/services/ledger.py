"""J4: the audit log as others may check it: signed checkpoints, cosigned by witnesses, and proofs as files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from clinical.audit.checkpoint import (
    Check,
    Checkpoint,
    Note,
    NoteKey,
    Signature,
    UntrustedNoteError,
    proof_text,
)
from clinical.audit.proof import NotYetSequencedError
from clinical.audit.ranges import inclusion_ranges, stored_path
from clinical.errors import NotFoundError
from clinical.services.ports import Clock, OpenUnitOfWork, UnitOfWork


class Notary(Protocol):
    """Holds the key of the log."""

    @property
    def key(self) -> NoteKey: ...

    def sign(self, text: str) -> Signature: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerService:
    """Publishes the log under the name of its key; `witnesses` are those whose word is kept."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    notary: Notary
    check: Check
    witnesses: tuple[NoteKey, ...] = ()

    def publish(self) -> bool:
        """Sign the newest head, unless this very key has; whether it did."""
        name = self.notary.key.name
        with self.open_unit_of_work() as uow:
            head = uow.audit_log.head()
            signed = uow.audit_log.signed(name, self.notary.key.key_id)
            if head.size <= (0 if signed is None else signed.size):
                return False
            signature = self.notary.sign(Checkpoint(name, head).to_text())
            uow.audit_log.add_signature(head.size, signature, self.clock.now())
            uow.commit()
        return True

    def checkpoint(self) -> Note:
        """The newest signed head, under it whoever signed it.

        Raises:
            NotYetSequencedError: nothing was signed yet.
        """
        with self.open_unit_of_work() as uow:
            return self._checkpoint(uow)[1]

    def accept(self, note: Note) -> int:
        """Keep the cosignatures of known witnesses under a checkpoint of ours; how many there are.

        Raises:
            UntrustedNoteError: it is no checkpoint of this log, or no known witness signed it.
            MalformedNoteError
        """
        told = Checkpoint.from_text(note.text)
        signed = [
            signature
            for key in self.witnesses
            if note.signed_by(key, self.check) is not None
            for signature in note.signatures
            if (signature.name, signature.key_id) == (key.name, key.key_id)
        ]
        with self.open_unit_of_work() as uow:
            is_ours = told.origin == self.notary.key.name and uow.audit_log.has_head(told.head)
            if not signed or not is_ours:
                raise UntrustedNoteError("no known witness signed this, or no head of ours it is")
            for signature in signed:
                uow.audit_log.add_signature(told.head.size, signature, self.clock.now())
            uow.commit()
        return len(signed)

    def proof(self, entry_id: UUID) -> str:
        """The entry's `.tlog-proof` under the newest signed head.

        Raises:
            NotYetSequencedError, NotFoundError
        """
        with self.open_unit_of_work() as uow:
            size, note = self._checkpoint(uow)
            found = uow.audit_log.leaf_of(entry_id)
            if found is None or found[0] >= size:
                if found is not None or uow.audit_log.unsequenced():
                    raise NotYetSequencedError("not under a signed head yet")
                raise NotFoundError("no audit entry has this id")
            path = stored_path(inclusion_ranges(found[0], size), uow.audit_log.nodes)
        return proof_text(found[0], path, note.to_text())

    def export(self, checkpoint: Note) -> Iterator[bytes]:
        """Every entry under the checkpoint: its hash in hex, a space, the entry, a line each."""
        size = Checkpoint.from_text(checkpoint.text).head.size
        with self.open_unit_of_work() as uow:
            for _, entry, leaf in uow.audit_log.sequenced(size):
                yield leaf.hex().encode() + b" " + entry.canonical() + b"\n"

    def _checkpoint(self, uow: UnitOfWork) -> tuple[int, Note]:
        name = self.notary.key.name
        head = uow.audit_log.signed(name)
        if head is None:
            raise NotYetSequencedError("no head of the log was signed yet")
        found = uow.audit_log.signatures(head.size)
        # The log's own first: a reader that knows no witness need not look further.
        order = sorted(found, key=lambda signature: (signature.name != name, signature.name))
        return head.size, Note(Checkpoint(name, head).to_text(), tuple(order))
