"""MEDS files to deliveries: record batches of whole subjects, as Arrow streams, in flat memory."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from adapters.meds.columns import OURS
from adapters.meds.errors import NothingToImportError, NotReadableError
from clinical.services.delivery import Delivery, Door
from clinical.services.ports import Clock, Identities

ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
COLUMNS = ("subject_id", "time", "code", "numeric_value", "text_value", "value", "table")
_ROWS_READ = 10_000
_MAX_ROWS = 20_000
_MAX_BROKEN_BYTES = 64 * 1024 * 1024


def deliveries(
    path: Path, *, site: str, clock: Clock, identities: Identities
) -> Iterator[Delivery]:
    """The rows of a Parquet file, or of a MEDS folder (`data/**.parquet`), a few thousand at a time.

    A file that is no whole Parquet file becomes one delivery that says so, for the quarantine.

    Raises:
        NothingToImportError: there is no Parquet file.
    """
    files = _files(path)
    if not files:
        raise NothingToImportError("no file here ends in .parquet")
    for file in files:
        for body, content_type, context in _bodies(file):
            yield Delivery(
                delivery_id=identities.new(),
                site=site,
                door=Door.MEDS,
                sender_id=hashlib.sha256(body).hexdigest(),
                body=body,
                content_type=content_type,
                received_at=clock.now(),
                context=context,
            )


def is_meds(path: Path) -> bool:
    """Whether the path is a Parquet file, or a folder in which the rows of a MEDS data set would lie."""
    return bool(_files(path))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    folder = path / "data" if (path / "data").is_dir() else path
    return sorted(
        each
        for each in folder.rglob("*.parquet")
        if each.is_file() and "metadata" not in each.relative_to(folder).parts
    )


def _bodies(file: Path) -> Iterator[tuple[bytes, str, dict[str, str]]]:
    try:
        table = pq.ParquetFile(file)
    except (pa.ArrowException, OSError):
        whole = file.stat().st_size <= _MAX_BROKEN_BYTES
        body = file.read_bytes() if whole else b""
        yield body, PARQUET, {"problem": NotReadableError.code}
        return
    with table:
        there = set(table.schema_arrow.names)
        wanted = [name for name in COLUMNS if name in there]
        wanted += OURS if there.issuperset(OURS) else ()
        batches = table.iter_batches(_ROWS_READ, columns=wanted)
        for rows in _by_subjects(batches):
            yield _stream(rows), ARROW, {}


def _by_subjects(batches: Iterator[Any]) -> Iterator[Any]:
    """Tables that end where a subject ends, unless one subject alone has more than `_MAX_ROWS` rows."""
    held: Any = None
    for batch in batches:
        rows = pa.Table.from_batches([batch])
        held = rows if held is None else pa.concat_tables([held, rows]).combine_chunks()
        boundary = _last_subject(held)
        if boundary:
            yield held.slice(0, boundary)
            held = held.slice(boundary)
        elif held.num_rows >= _MAX_ROWS:
            yield held
            held = None
    if held is not None and held.num_rows:
        yield held


def _last_subject(rows: Any) -> int:
    """The index at which the rows of the last subject begin; 0 where there is no such column."""
    if "subject_id" not in rows.column_names or not rows.num_rows:
        return 0
    subjects = rows.column("subject_id").to_pylist()
    at = len(subjects) - 1
    while at and subjects[at - 1] == subjects[-1]:
        at -= 1
    return at


def _stream(rows: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema.remove_metadata()) as writer:
        writer.write_table(rows.replace_schema_metadata())
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]
