"""A site's code map: a CSV file of five columns, read whole or refused with the line that is wrong.

The header is `system,code,to_system,to_code,to_display`. `system` is written as the site sends it (a
URI, or empty where it sends none), `to_system` by its name here, such as `LOINC`.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from clinical.errors import RejectedError
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.code_map import CodeMap, Stated

HEADER = ["system", "code", "to_system", "to_code", "to_display"]
TARGETS = frozenset(CodeSystem) - {CodeSystem.TEXT, CodeSystem.MEDS, CodeSystem.MIMIC}
"""The terminologies that a code may be mapped to."""


class MalformedCodeMapError(RejectedError):
    """A code map cannot be read, or says something that cannot be; the message names file and line."""

    code = "sites.malformed_code_map"


class CodeMapFile:
    """A code map that a file held, as a value that msgspec does not take apart."""

    __slots__ = ("value",)

    def __init__(self, path: Path) -> None:
        """Read it; raises MalformedCodeMapError."""
        self.value = read_code_map(path)


def read_code_map(path: Path) -> CodeMap:
    """The map that the file holds.

    Raises:
        MalformedCodeMapError
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise MalformedCodeMapError(f"{path.name}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise MalformedCodeMapError(f"{path.name} is not UTF-8") from error
    meanings: dict[Stated, Code] = {}
    for number, row in _rows(path, text):
        stated, meaning = _line(path, number, row)
        if stated in meanings:
            raise _wrong(path, number, "this code is mapped above already")
        meanings[stated] = meaning
    return CodeMap(meanings=meanings, digest=hashlib.sha256(content).hexdigest())


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header, each with the number of the line on which it ends."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        if next(rows, None) != HEADER:
            raise _wrong(path, 1, f"the header is {','.join(HEADER)}")
        for row in rows:
            if row:
                yield rows.line_num, row
    except csv.Error as error:
        raise _wrong(path, rows.line_num, str(error)) from error


def _line(path: Path, number: int, row: list[str]) -> tuple[Stated, Code]:
    if len(row) != len(HEADER):
        raise _wrong(path, number, f"{len(HEADER)} columns are required")
    system, code, to_system, to_code, to_display = row
    if any(not _is_plain(each) for each in row):
        raise _wrong(path, number, "a cell holds spaces at an end, or what cannot be printed")
    if to_system not in TARGETS:
        raise _wrong(path, number, f"to_system is one of {_listed(TARGETS)}")
    if not code or not to_code:
        raise _wrong(path, number, "code and to_code are required")
    return (system, code), Code(CodeSystem(to_system), to_code, to_display)


def _is_plain(cell: str) -> bool:
    return cell == cell.strip() and (not cell or cell.isprintable())


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _wrong(path: Path, number: int, what: str) -> MalformedCodeMapError:
    return MalformedCodeMapError(f"{path.name}, line {number}: {what}")
