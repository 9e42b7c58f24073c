"""A MEDS data set on disk: shards of whole subjects, what its codes mean, and what it is.

Memory does not grow with the number of patients: rows are written while they come, and only the
distinct codes and subject numbers are held.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from adapters.meds.columns import (
    AVAILABLE,
    CODE_MODIFIERS,
    MEDS_VERSION,
    OTHERS,
    SCHEMA,
    SITE,
)
from adapters.meds.errors import PlaceTakenError, SameSubjectError
from adapters.meds.rows import Meaning, Row, rows_of
from clinical.services.ports import Exported
from clinical.timeline.timeline import Timeline

SHARD_SUBJECTS = 1000
_ROWS_HELD = 50_000
_CODES = pa.schema(
    [
        pa.field("code", pa.string(), nullable=False),
        pa.field("description", pa.string()),
        pa.field("parent_codes", pa.list_(pa.string())),
    ]
)
_SPLITS = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
    ]
)


class MedsDataset:
    """A data set while it is written, beside its place; `close` puts it there whole, `abandon` leaves nothing."""

    def __init__(
        self,
        folder: Path,
        *,
        subject_of: Callable[[UUID], int],
        about: dict[str, str],
        shard_subjects: int = SHARD_SUBJECTS,
    ) -> None:
        """`about` goes into `dataset.json` (its name, version and origin).

        Raises:
            PlaceTakenError: something lies there already.
        """
        if folder.exists():
            raise PlaceTakenError("there is something already where the data set was to go")
        self._folder, self._subject_of, self._about = folder, subject_of, about
        self._shard_subjects = shard_subjects
        self._made = folder.with_name(f".{folder.name}.{os.getpid()}")
        for part in ("data", "metadata"):
            (self._made / part).mkdir(parents=True, mode=0o700)
        self._made.chmod(0o700)
        self._codes: dict[str, Meaning] = {}
        self._subjects: set[int] = set()
        self._rows: list[Row] = []
        self._num_rows = 0
        self._shard: Any = None

    def add(self, timeline: Timeline) -> None:
        """Write what stands of a patient.

        Raises:
            SameSubjectError: two patients have one number; nothing of the data set may be used.
        """
        subject = self._subject_of(timeline.patient_id)
        if subject in self._subjects:
            raise SameSubjectError("two patients have the same number: use another key")
        self._subjects.add(subject)
        for row, meaning in rows_of(subject, timeline.events):
            self._codes.setdefault(row[2], meaning)
            self._rows.append(row)
        if len(self._rows) >= _ROWS_HELD:
            self._flush()
        if len(self._subjects) % self._shard_subjects == 0:
            self._end_shard()

    def close(self, at: datetime) -> Exported:
        """Write what is left, put the data set in its place, and say what it is."""
        self._end_shard()
        if not self._subjects:
            pq.write_table(SCHEMA.empty_table(), self._made / "data" / "0.parquet")
        self._write_codes()
        self._write_splits()
        told = self._about | {
            "etl_name": "clinical-jepa",
            "meds_version": MEDS_VERSION,
            "created_at": at.isoformat(),
            "raw_source_id_columns": [],
            "code_modifier_columns": list(CODE_MODIFIERS),
            "additional_value_modality_columns": [],
            "site_id_columns": [SITE],
            "other_extension_columns": [*OTHERS, AVAILABLE],
        }
        text = json.dumps(told, indent=2, ensure_ascii=False)
        (self._made / "metadata" / "dataset.json").write_text(f"{text}\n", "utf-8")
        lines = [f"{digest}  {name}\n" for name, digest in _digests(self._made)]
        self._made.rename(self._folder)
        return Exported(
            num_subjects=len(self._subjects),
            num_rows=self._num_rows,
            num_files=len(lines),
            digest=hashlib.sha256("".join(lines).encode()).hexdigest(),
        )

    def abandon(self) -> None:
        """Leave nothing of it."""
        if self._shard is not None:
            self._shard.close()
        shutil.rmtree(self._made, ignore_errors=True)

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._shard is None:
            number = (len(self._subjects) - 1) // self._shard_subjects
            self._shard = pq.ParquetWriter(self._made / "data" / f"{number}.parquet", SCHEMA)
        columns = [
            pa.array(values, field.type)
            for values, field in zip(zip(*self._rows, strict=True), SCHEMA, strict=True)
        ]
        self._shard.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
        self._num_rows += len(self._rows)
        self._rows.clear()

    def _end_shard(self) -> None:
        self._flush()
        if self._shard is not None:
            self._shard.close()
            self._shard = None

    def _write_codes(self) -> None:
        known = sorted(self._codes.items())
        table = pa.Table.from_pydict(
            {
                "code": [code for code, _ in known],
                "description": [meaning.description for _, meaning in known],
                "parent_codes": [meaning.parent_codes for _, meaning in known],
            },
            schema=_CODES,
        )
        pq.write_table(table, self._made / "metadata" / "codes.parquet")

    def _write_splits(self) -> None:
        subjects = sorted(self._subjects)
        splits = {"subject_id": subjects, "split": [_split(each) for each in subjects]}
        table = pa.Table.from_pydict(splits, schema=_SPLITS)
        pq.write_table(table, self._made / "metadata" / "subject_splits.parquet")


def _split(subject: int) -> str:
    """Where a subject belongs; the number alone decides, so nobody changes sides in a later data set."""
    return {0: "held_out", 1: "tuning"}.get(subject % 10, "train")


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file by its path below the folder, with the hex SHA-256 of its bytes, in the order of paths."""
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        with path.open("rb") as file:
            yield (
                path.relative_to(folder).as_posix(),
                hashlib.file_digest(file, "sha256").hexdigest(),
            )
