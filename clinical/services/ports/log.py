"""The audit log, what its entries vouch for, and what may be erased under it."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from clinical.audit.checkpoint import Signature
from clinical.audit.entry import AuditEntry
from clinical.audit.ranges import Node
from clinical.audit.tree import TreeHead


class AuditLog(Protocol):
    """Audit entries and the tree over them."""

    def append(self, entry: AuditEntry) -> None:
        """Store the entry, and apart from it the salt of what it seals."""
        ...

    def salts(self, entry_ids: Collection[UUID]) -> Mapping[UUID, bytes]:
        """The salts that are still held of these entries."""
        ...

    def num_erased(self) -> int:
        """Of how many entries erasures said that their salts are gone."""
        ...

    def num_bad_nodes(self, size: int) -> int:
        """How many inner nodes of the tree over `size` leaves are missing or not what is below them."""
        ...

    def sequence(self, limit: int, at: datetime) -> int:
        """Give up to `limit` unsequenced entries their leaves and store a new head; how many."""
        ...

    def head(self) -> TreeHead: ...

    def sequenced(self, size: int | None = None) -> Iterator[tuple[int, AuditEntry, bytes]]:
        """Index, entry and stored leaf hash, in order, streamed: all, or the first `size`."""
        ...

    def leaf_of(self, entry_id: UUID) -> tuple[int, AuditEntry] | None:
        """Where the entry stands, and the entry; None where it has no leaf."""
        ...

    def nodes(self, wanted: Collection[Node]) -> Mapping[Node, bytes]:
        """The stored hashes of these perfect subtrees of the tree."""
        ...

    def heads(self) -> Iterator[TreeHead]:
        """Every stored head, oldest first."""
        ...

    def has_head(self, head: TreeHead) -> bool:
        """Whether the log once had this head."""
        ...

    def signed(self, name: str, key_id: bytes | None = None) -> TreeHead | None:
        """The largest head with a signature of this name, and of this key if one is given."""
        ...

    def signatures(self, size: int) -> list[Signature]:
        """Who signed the head of this size."""
        ...

    def add_signature(self, size: int, signature: Signature, at: datetime) -> None:
        """Keep it; nothing where the same key signed this head before."""
        ...

    def unsequenced(self) -> int: ...

    def history(self, **refs: str) -> list[AuditEntry]:
        """The entries that carry these refs, oldest first."""
        ...


class Payloads(Protocol):
    """What audit entries vouch for, as it is stored now."""

    def contents(self, entries: Collection[AuditEntry]) -> Mapping[UUID, Mapping[str, str] | None]:
        """By entry the sealed content of the row it names, computed again; None where that is gone.

        Entries that seal what is not stored, such as the bytes of a refused delivery, are left out.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """How much of a patient was erased. `num_shared` of the deliveries told of others too.

    `num_merged` counts the other records of the same person.
    """

    num_events: int
    num_deliveries: int
    num_shared: int
    num_predictions: int
    num_comparisons: int
    num_reviews: int
    num_decisions: int
    num_sealed: int  # audit entries whose salts are gone
    num_merged: int


class Erasure(Protocol):
    """Makes what is stored of a person, under one record or several, unrecoverable from the tables."""

    def extent(self, patient_ids: Collection[UUID]) -> Erased:
        """What `erase` would erase; until the transaction ends nothing is added to it."""
        ...

    def erase(self, patient_ids: Collection[UUID], at: datetime) -> None:
        """Delete all rows about the patient, the bytes of every delivery that told of them, and salts.

        After `extent`, and after the entry of kind `patient.erased.v1` in the same transaction:
        without one nothing of the past may be deleted.
        """
        ...


def append_all(log: AuditLog, entries: Iterable[AuditEntry]) -> None:
    """Append each entry, in order."""
    for entry in entries:
        log.append(entry)
