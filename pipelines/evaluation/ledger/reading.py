"""How fast a long log is read: proofs of entries, and the verification of all of it, here and elsewhere.

The log is made long by copying one real entry that seals nothing under fresh ids; its leaves are given
by the sequencer. So entries are verified here, and not what some of them vouch for.
"""

import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
from sqlalchemy import Engine, select, text

from adapters.assembly.worker import Parts
from adapters.db.tables import audit_entries, audit_leaves
from clinical.errors import OperationalError
from pipelines import verify_ledger

_AT_ONCE = 50_000


class UnsoundLogError(OperationalError):
    """The log that was made for the bench does not verify: nothing can be said of it."""

    code = "evaluation.unsound_log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proofs:
    """How long single proofs took, in seconds, by how many leaves there were."""

    num_leaves: int
    seconds: tuple[float, ...]

    @property
    def per_second(self) -> float:
        """One after the other, on one connection."""
        return len(self.seconds) / sum(self.seconds)

    @property
    def p99_ms(self) -> float:
        """The 99th percentile, in milliseconds."""
        return float(np.quantile(self.seconds, 0.99)) * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Entries a second: as the service verifies, as it only reads them, as it exports, and as the file verifies."""

    num_entries: int
    by_service: float
    read_alone: float
    exported: float
    by_file: float


def lengthen(engine: Engine, parts: Parts, num_leaves: int) -> float:
    """Make the log at least so long; how many leaves a second the sequencer gave."""
    began, num_given = time.perf_counter(), 0
    parts.audit.sequence()
    with parts.open_unit_of_work() as uow:
        num_owed = num_leaves - uow.audit_log.head().size
    others = ", ".join(column.name for column in audit_entries.c if column.name != "entry_id")
    copy = text(
        f"INSERT INTO audit_entries (entry_id, {others}) SELECT gen_random_uuid(), {others}"  # noqa: S608
        " FROM (SELECT * FROM audit_entries WHERE refs::text NOT LIKE '%sealed:%' LIMIT 1) AS one,"
        " generate_series(1, :count)"
    )
    seconds = 0.0
    while num_given < num_owed:
        with engine.begin() as connection:
            connection.execute(copy, {"count": min(_AT_ONCE, num_owed - num_given)})
        began = time.perf_counter()
        num_given += parts.audit.sequence()
        seconds += time.perf_counter() - began
    parts.ledger.publish()
    return num_given / seconds if seconds else 0.0


def proofs(engine: Engine, parts: Parts, *, count: int, seed: int) -> Proofs:
    """Prove so many entries, drawn from the whole log."""
    with parts.open_unit_of_work() as uow:
        size = uow.audit_log.head().size
    chances = random.Random(seed)  # noqa: S311 - a sample
    taken = []
    for entry_id in _entries(engine, [chances.randrange(size) for _ in range(count)]):
        began = time.perf_counter()
        parts.audit.proof_of(entry_id)
        taken.append(time.perf_counter() - began)
    return Proofs(num_leaves=size, seconds=tuple(taken))


def verified(parts: Parts, folder: Path) -> Verified:
    """Verify all of it, by the service and, exported, by the file that others take away.

    Raises:
        UnsoundLogError
    """
    began = time.perf_counter()
    report = parts.audit.verify()
    by_service = time.perf_counter() - began
    if not report.is_sound:
        raise UnsoundLogError("the log does not verify")
    began = time.perf_counter()
    with parts.open_unit_of_work() as uow:
        num_read = sum(1 for _ in uow.audit_log.sequenced())
    read_alone = time.perf_counter() - began
    began = time.perf_counter()
    note = parts.ledger.checkpoint()
    with (folder / "ledger.txt").open("wb") as file:
        for line in parts.ledger.export(note):
            file.write(line)
    (folder / "ledger.checkpoint").write_text(note.to_text(), "utf-8")
    exported = time.perf_counter() - began
    return Verified(
        num_entries=report.num_entries,
        by_service=report.num_entries / by_service,
        read_alone=num_read / read_alone,
        exported=num_read / exported,
        by_file=num_read / _seconds_of_the_file(parts, folder),
    )


def _seconds_of_the_file(parts: Parts, folder: Path) -> float:
    key = parts.ledger.notary.key.to_text()
    words = ["export", str(folder / "ledger.txt"), str(folder / "ledger.checkpoint")]
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, verify_ledger.__file__, *words, "--log-key", key],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise UnsoundLogError("the exported log does not verify")
    return time.perf_counter() - began


def _entries(engine: Engine, indexes: list[int]) -> list[UUID]:
    with engine.connect() as connection:
        found = connection.execute(
            select(audit_leaves.c.leaf_index, audit_leaves.c.entry_id).where(
                audit_leaves.c.leaf_index.in_(indexes)
            )
        )
        by_index = {row.leaf_index: row.entry_id for row in found}
    return [by_index[index] for index in indexes]
