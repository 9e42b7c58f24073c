"""Audit entries, written in the transaction of what they tell of, and the tree over them.

Knows the audit tables. Hashing is the domain's; that nothing is edited is held by triggers.
"""

import json
from collections.abc import Collection, Iterator
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Connection,
    RowMapping,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.tables import (
    audit_entries,
    audit_heads,
    audit_leaves,
    audit_nodes,
    audit_openings,
    audit_pending,
    audit_signatures,
)
from clinical.audit.checkpoint import Signature
from clinical.audit.entry import AuditEntry, AuditKind
from clinical.audit.ranges import Node
from clinical.audit.tree import Frontier, TreeHead

_KINDS = {kind.value: kind for kind in AuditKind}
_FIELDS = tuple(
    audit_entries.c[name] for name in ("entry_id", "at", "kind", "actor", "refs", "request_id")
)
_SEQUENCER_LOCK = 0x6175646974  # "audit": one sequencer at a time

_VALUES = "(:entry_id, :at, :kind, :actor, CAST(:refs AS jsonb), :request_id)"
_COLUMNS = "(entry_id, at, kind, actor, refs, request_id)"
_APPEND = text(f"INSERT INTO audit_entries {_COLUMNS} VALUES {_VALUES}")  # noqa: S608
# One round trip: every delivery, prediction and signature pays for this.
_APPEND_WITH_SALT = text(
    f"WITH entry AS (INSERT INTO audit_entries {_COLUMNS} VALUES {_VALUES} RETURNING entry_id)"  # noqa: S608
    " INSERT INTO audit_openings (entry_id, salt) SELECT entry_id, :salt FROM entry"
)

# The leaves are checked against the entries, by us; from there the database can check itself.
_GOOD_NODES = text(
    """
    WITH tree AS MATERIALIZED (
        SELECT 0::smallint AS height, leaf_index AS place, leaf_hash AS hash FROM audit_leaves
        WHERE leaf_index < :size
        UNION ALL SELECT height, place, hash FROM audit_nodes
    )
    SELECT count(*) FROM audit_nodes AS node
    JOIN tree AS l ON l.height = node.height - 1 AND l.place = 2 * node.place
    JOIN tree AS r ON r.height = node.height - 1 AND r.place = 2 * node.place + 1
    WHERE node.hash = sha256('\\x01'::bytea || l.hash || r.hash)
        AND (node.place + 1) << node.height <= :size
    """
)
_NODES_BEYOND = text(
    "SELECT count(*) FROM audit_nodes WHERE height < 1 OR (place + 1) << height > :size"
)


class SqlAuditLog:
    """Implements the port `AuditLog` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def append(self, entry: AuditEntry) -> None:
        """Store the entry, and apart from it the salt of what it seals; its leaf comes later."""
        has_opening = entry.salt is not None and entry.sealed_refs
        values = {
            "entry_id": entry.entry_id,
            "at": entry.at,
            "kind": entry.kind.value,
            "actor": entry.actor,
            "refs": json.dumps(entry.refs),
            "request_id": entry.request_id,
        }
        if has_opening:
            self._connection.execute(_APPEND_WITH_SALT, {**values, "salt": entry.salt})
        else:
            self._connection.execute(_APPEND, values)

    def salts(self, entry_ids: Collection[UUID]) -> dict[UUID, bytes]:
        """The salts that are still held of these entries."""
        rows = self._connection.execute(
            select(audit_openings).where(audit_openings.c.entry_id.in_(entry_ids))
        )
        return {row.entry_id: row.salt for row in rows}

    def num_erased(self) -> int:
        """Of how many entries erasures said that their salts are gone."""
        told = cast(audit_entries.c.refs["num_sealed"].astext, BigInteger)
        is_erasure = audit_entries.c.kind == AuditKind.PATIENT_ERASED.value
        return int(self._connection.scalar(select(func.sum(told)).where(is_erasure)) or 0)

    def num_bad_nodes(self, size: int) -> int:
        """How many inner nodes of the tree over `size` leaves are missing or not what is below them."""
        expected = sum(size >> height for height in range(1, size.bit_length()))
        good = self._connection.scalar(_GOOD_NODES, {"size": size})
        surplus = self._connection.scalar(_NODES_BEYOND, {"size": size})
        return expected - int(good or 0) + int(surplus or 0)

    def sequence(self, limit: int, at: datetime) -> int:
        """Give leaves to entries that owe one; 0 where another sequencer is at work.

        Entries are found by what they owe, never by position: a transaction that commits late
        cannot be skipped.
        """
        if not self._connection.scalar(select(func.pg_try_advisory_xact_lock(_SEQUENCER_LOCK))):
            return 0
        rows = (
            self._connection.execute(
                select(audit_entries)
                .join(audit_pending, audit_pending.c.entry_id == audit_entries.c.entry_id)
                .order_by(audit_entries.c.at, audit_entries.c.entry_id)
                .limit(limit)
            )
            .mappings()
            .all()
        )
        if rows:
            self._append_leaves([_entry(row) for row in rows], at)
        return len(rows)

    def head(self) -> TreeHead:
        """The newest stored head; that of the empty log where there is none."""
        return self._frontier().head()

    def sequenced(self, size: int | None = None) -> Iterator[tuple[int, AuditEntry, bytes]]:
        """Index, entry and stored leaf hash, in order, streamed: all, or the first `size`."""
        query = (
            select(audit_leaves.c.leaf_index, audit_leaves.c.leaf_hash, *_FIELDS)
            .join(audit_entries, audit_entries.c.entry_id == audit_leaves.c.entry_id)
            .order_by(audit_leaves.c.leaf_index)
        )
        if size is not None:
            query = query.where(audit_leaves.c.leaf_index < size)
        streamed = self._connection.execute(query.execution_options(yield_per=4000))
        # By position: every entry there is comes by here.
        for index, leaf, entry_id, at, kind, actor, refs, request_id in streamed:
            entry = AuditEntry(
                entry_id=entry_id,
                at=at,
                kind=_KINDS[kind],
                actor=actor,
                refs=refs,
                request_id=request_id,
            )
            yield index, entry, leaf

    def leaf_of(self, entry_id: UUID) -> tuple[int, AuditEntry] | None:
        """Where the entry stands, and the entry; None where it has no leaf."""
        row = (
            self._connection.execute(
                select(audit_leaves.c.leaf_index, audit_entries)
                .join(audit_entries, audit_entries.c.entry_id == audit_leaves.c.entry_id)
                .where(audit_leaves.c.entry_id == entry_id)
            )
            .mappings()
            .one_or_none()
        )
        return None if row is None else (row["leaf_index"], _entry(row))

    def nodes(self, wanted: Collection[Node]) -> dict[Node, bytes]:
        """The stored hashes of these perfect subtrees; leaves have the height 0."""
        leaves = [place for height, place in wanted if height == 0]
        above = [node for node in wanted if node[0] > 0]
        stored = select(audit_nodes.c.height, audit_nodes.c.place, audit_nodes.c.hash).where(
            tuple_(audit_nodes.c.height, audit_nodes.c.place).in_(above)
        )
        lowest = select(literal(0), audit_leaves.c.leaf_index, audit_leaves.c.leaf_hash).where(
            audit_leaves.c.leaf_index.in_(leaves)
        )
        rows = self._connection.execute(union_all(stored, lowest))
        return {(height, place): value for height, place, value in rows}

    def heads(self) -> Iterator[TreeHead]:
        """Every stored head, oldest first."""
        query = select(audit_heads.c.size, audit_heads.c.root).order_by(audit_heads.c.size)
        for row in self._connection.execute(query):
            yield TreeHead(row.size, row.root)

    def has_head(self, head: TreeHead) -> bool:
        """Whether the log once had this head."""
        root = select(audit_heads.c.root).where(audit_heads.c.size == head.size)
        return self._connection.scalar(root) == head.root

    def signed(self, name: str, key_id: bytes | None = None) -> TreeHead | None:
        """The largest head with a signature of this name, and of this key if one is given."""
        query = (
            select(audit_heads.c.size, audit_heads.c.root)
            .join(audit_signatures, audit_signatures.c.size == audit_heads.c.size)
            .where(audit_signatures.c.name == name)
            .order_by(audit_heads.c.size.desc())
            .limit(1)
        )
        if key_id is not None:
            query = query.where(audit_signatures.c.key_id == key_id)
        row = self._connection.execute(query).one_or_none()
        return None if row is None else TreeHead(row.size, row.root)

    def signatures(self, size: int) -> list[Signature]:
        """Who signed the head of this size."""
        rows = self._connection.execute(
            select(audit_signatures).where(audit_signatures.c.size == size)
        )
        return [Signature(row.name, row.key_id, row.content) for row in rows]

    def add_signature(self, size: int, signature: Signature, at: datetime) -> None:
        """Keep it; nothing where the same key signed this head before."""
        self._connection.execute(
            upsert(audit_signatures)
            .values(
                size=size,
                name=signature.name,
                key_id=signature.key_id,
                content=signature.content,
                at=at,
            )
            .on_conflict_do_nothing()
        )

    def unsequenced(self) -> int:
        """How many entries have no leaf, counted from the log itself whoever edited what is owed."""
        is_its = audit_leaves.c.entry_id == audit_entries.c.entry_id
        has_leaf = select(audit_leaves.c.entry_id).where(is_its).exists()
        counted = select(func.count()).select_from(audit_entries).where(~has_leaf)
        return int(self._connection.scalar(counted) or 0)

    def history(self, **refs: str) -> list[AuditEntry]:
        """The entries that carry all of these refs, oldest first."""
        rows = self._connection.execute(
            select(audit_entries)
            .where(audit_entries.c.refs.contains(refs))
            .order_by(audit_entries.c.at, audit_entries.c.entry_id)
        ).mappings()
        return [_entry(row) for row in rows]

    def _append_leaves(self, entries: list[AuditEntry], at: datetime) -> None:
        frontier = self._frontier()
        leaves, nodes = [], []
        for entry in entries:
            leaf = {"leaf_index": frontier.size, "entry_id": entry.entry_id}
            leaves.append({**leaf, "leaf_hash": entry.leaf_hash})
            nodes += frontier.append(entry.leaf_hash)[1:]
        self._connection.execute(insert(audit_leaves), leaves)
        if nodes:
            names = ("height", "place", "hash")
            rows = [dict(zip(names, node, strict=True)) for node in nodes]
            self._connection.execute(insert(audit_nodes), rows)
        self._connection.execute(
            delete(audit_pending).where(audit_pending.c.entry_id.in_([e.entry_id for e in entries]))
        )
        head = frontier.head()
        self._connection.execute(
            insert(audit_heads).values(
                size=head.size,
                root=head.root,
                at=at,
                peak_heights=[height for height, _ in frontier.peaks],
                peak_hashes=[value for _, value in frontier.peaks],
            )
        )

    def _frontier(self) -> Frontier:
        row = self._connection.execute(
            select(audit_heads.c.peak_heights, audit_heads.c.peak_hashes)
            .order_by(audit_heads.c.size.desc())
            .limit(1)
        ).one_or_none()
        if row is None:
            return Frontier()
        return Frontier(list(zip(row.peak_heights, row.peak_hashes, strict=True)))


def _entry(row: RowMapping) -> AuditEntry:
    return AuditEntry(
        entry_id=row["entry_id"],
        at=row["at"],
        kind=AuditKind(row["kind"]),
        actor=row["actor"],
        refs=row["refs"],
        request_id=row["request_id"],
    )
