"""What a recall found, as a file for whoever has to act on it: every prediction, with its patient.

Only the owner may read the file. It is written row by row, however many there are.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from clinical.errors import OperationalError
from clinical.review.recall import Findings, TouchedPrediction
from clinical.services.recall import Target


class UnwritableFileError(OperationalError):
    """The file cannot be written there; what was recalled is recalled."""

    code = "recall.unwritable_file"


def write(
    path: Path, target: Target, findings: Findings, rows: Iterable[TouchedPrediction]
) -> None:
    """Write JSON or CSV, by the ending of the name; what is there is replaced at the end.

    Raises:
        UnwritableFileError
    """
    draft = path.with_name(f"{path.name}.part")
    with _opened(draft, path) as file:
        if path.suffix == ".csv":
            _write_csv(file, rows)
        else:
            _write_json(file, target, findings, rows)


@contextmanager
def _opened(draft: Path, path: Path) -> Iterator[TextIO]:
    try:
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        with draft.open("w", encoding="utf-8", newline="") as file:
            yield file
        draft.replace(path)
    except OSError as error:
        raise UnwritableFileError(f"{path} cannot be written") from error


def _write_csv(file: TextIO, rows: Iterable[TouchedPrediction]) -> None:
    names = [field.name for field in fields(TouchedPrediction)]
    table = csv.DictWriter(file, names)
    table.writeheader()
    for row in rows:
        plain = _plain(row)
        table.writerow(plain | {"readers": " ".join(plain["readers"])})


def _write_json(
    file: TextIO, target: Target, findings: Findings, rows: Iterable[TouchedPrediction]
) -> None:
    head = {"kind": target.kind.value, "target": target.name, "findings": asdict(findings)}
    file.write(json.dumps(head, indent=1)[:-2] + ',\n "predictions": [')
    separator = "\n  "
    for row in rows:
        file.write(separator)
        file.write(json.dumps(_plain(row)))
        separator = ",\n  "
    file.write("\n ]\n}\n")


def _plain(row: TouchedPrediction) -> dict[str, Any]:
    return {name: _text(value) for name, value in asdict(row).items()}


def _text(value: Any) -> Any:
    if value is None or isinstance(value, int | str):
        return value
    if isinstance(value, tuple):
        return list(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)
