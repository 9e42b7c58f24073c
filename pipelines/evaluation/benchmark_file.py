"""The file of measured results: `BENCHMARKS.json` is written by the benches, `BENCHMARKS.md` is its picture.

Knows rows, their order and how they are shown. Does not know how anything is measured.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from clinical.errors import RejectedError
from clinical.services.ports import Clock

FOLDER = Path(__file__).parents[2]
"""The root of the checkout: where the two files lie."""


class MalformedBenchmarkError(RejectedError):
    """A row lacks a field, has an unknown one, or says something that cannot be."""

    code = "evaluation.malformed_benchmark"


class Better(StrEnum):
    """Which way is up."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where it was measured."""

    cores: int
    memory_gib: int
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRow:
    """One measured result; `interval` is at 95 % or, where the note says so, the range seen.

    `baselines` were measured in the same run. A row whose goal is missed says in its note what was
    tried.
    """

    id: str
    value: float
    unit: str
    better: Better
    n: int
    command: str
    machine: Machine
    date: str
    commit: str
    goal: float | None = None
    interval: tuple[float, float] | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if self.interval is not None and not self.interval[0] <= self.interval[1]:
            raise MalformedBenchmarkError(f"{self.id}: the interval ends before it begins")

    @property
    def is_goal_met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better is Better.HIGHER else self.value <= self.goal

    @property
    def group(self) -> str:
        """What comes before the first dot of the id."""
        return self.id.partition(".")[0]


def this_machine(device: str = "cpu") -> Machine:
    """The machine that this process may use."""
    memory_gib = round(psutil.virtual_memory().total / 2**30)
    return Machine(cores=len(os.sched_getaffinity(0)), memory_gib=memory_gib, device=device)


def this_commit(folder: Path = FOLDER) -> str:
    """The short commit of the checkout, with `+` where it has uncommitted changes."""
    git = shutil.which("git")
    if git is None or not (folder / ".git").exists():
        return "unknown"

    def ask(*words: str) -> str:
        done = subprocess.run(  # noqa: S603 - the words are ours
            [git, *words], cwd=folder, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    commit = ask("rev-parse", "--short=12", "HEAD")
    # The two files themselves change while a series of benches runs.
    changes = ask("status", "--porcelain", "--", ".", ":!BENCHMARKS.json", ":!BENCHMARKS.md")
    return f"{commit}{'+' if changes else ''}" if commit else "unknown"


def measured(
    *, clock: Clock, device: str = "cpu", folder: Path = FOLDER, **fields: Any
) -> BenchmarkRow:
    """A row with its machine, date and commit filled in; `fields` are the others of BenchmarkRow."""
    return BenchmarkRow(
        machine=this_machine(device),
        date=clock.now().date().isoformat(),
        commit=this_commit(folder),
        **fields,
    )


def load(folder: Path = FOLDER) -> list[BenchmarkRow]:
    """The rows of `BENCHMARKS.json`; none where there is no file.

    Raises:
        MalformedBenchmarkError
    """
    path = folder / "BENCHMARKS.json"
    if not path.exists():
        return []
    try:
        return [_row(fields) for fields in json.loads(path.read_text("utf-8"))]
    except (TypeError, KeyError, ValueError) as error:
        raise MalformedBenchmarkError(f"BENCHMARKS.json cannot be read: {error}") from error


def upsert(*rows: BenchmarkRow, folder: Path = FOLDER) -> None:
    """Put the rows in place of those with the same ids, and write both files."""
    held = {row.id: row for row in load(folder)} | {row.id: row for row in rows}
    save(list(held.values()), folder)


def record(path: Path, folder: Path = FOLDER) -> list[BenchmarkRow]:
    """Take in rows that were measured on another machine and written as JSON; returns them.

    Raises:
        MalformedBenchmarkError
    """
    try:
        rows = [_row(fields) for fields in json.loads(path.read_text("utf-8"))]
    except (OSError, TypeError, KeyError, ValueError) as error:
        raise MalformedBenchmarkError(f"{path.name} cannot be read: {error}") from error
    upsert(*rows, folder=folder)
    return rows


def save(rows: Sequence[BenchmarkRow], folder: Path = FOLDER) -> None:
    """Write both files, ordered by id."""
    ordered = sorted(rows, key=lambda row: row.id)
    text = json.dumps([asdict(row) for row in ordered], indent=2, ensure_ascii=False)
    (folder / "BENCHMARKS.json").write_text(text + "\n", "utf-8")
    (folder / "BENCHMARKS.md").write_text(render(ordered), "utf-8")


def _row(fields: dict[str, Any]) -> BenchmarkRow:
    interval = fields["interval"]
    return BenchmarkRow(
        **{
            **fields,
            "better": Better(fields["better"]),
            "interval": None if interval is None else (interval[0], interval[1]),
            "seeds": tuple(fields["seeds"]),
            "machine": Machine(**fields["machine"]),
        }
    )


_GROUPS = {
    "import": "Import",
    "meds": "From NDJSON to MEDS",
    "path": "From webhook to prediction",
    "memory": "Memory of the processes",
    "train": "Training",
    "demo": "The demo",
    "gates": "Signs of health over seeds",
    "ablation": "Ablations of the objective",
    "p12": "Intensive care: PhysioNet 2012, set-a to the open part of set-b",
    "forecast": "The cost of a forecast",
    "append": "The cost of one more bundle",
    "ledger": "The audit log",
    "intake": "Webhooks at a steady rate",
    "gpu": "On a GPU",
    "tumour": "Tumours under other treatments (simulated, the truth known)",
}

_HEAD = """# Benchmarks

Written by `clinical bench` (all of them: `make bench`) from `BENCHMARKS.json`; not edited by hand.
A figure in brackets is the 95 % interval, or the range over repetitions where the note says so.
"""


def render(rows: Sequence[BenchmarkRow]) -> str:
    """The rows as Markdown, one table a group, their notes below it."""
    parts = [_HEAD]
    if not rows:
        parts.append("Nothing has been measured yet.\n")
    names = sorted({row.group for row in rows}, key=lambda name: (name not in _GROUPS, name))
    for name in names:
        inside = sorted((row for row in rows if row.group == name), key=lambda row: row.id)
        parts.append(_table(_GROUPS.get(name, name), inside))
    return "\n".join(parts)


def _table(title: str, rows: Sequence[BenchmarkRow]) -> str:
    lines = [
        f"## {title}",
        "",
        "| what | value | goal | measured beside it | n | machine | date, commit |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_line(row) for row in rows),
        "",
        *(f"- `{row.id}`: {row.note} Command: `{row.command}`." for row in rows),
        "",
    ]
    return "\n".join(lines)


def _line(row: BenchmarkRow) -> str:
    beside = ", ".join(f"{name} {number(figure)}" for name, figure in row.baselines.items())
    seeds = f", seeds {', '.join(map(str, row.seeds))}" if row.seeds else ""
    goal = goal_text(row).replace("MISSED", "**missed**")
    machine = f"{row.machine.cores} cores, {row.machine.memory_gib} GiB, {row.machine.device}"
    cells = (
        f"`{row.id}`",
        f"**{value_text(row)}**",
        goal,
        beside or "–",
        f"{row.n:,}{seeds}",
        machine,
    )
    return f"| {' | '.join(cells)} | {row.date}, {row.commit} |"


def value_text(row: BenchmarkRow) -> str:
    """The value with its unit and its interval."""
    value = f"{number(row.value)} {row.unit}"
    if row.interval is None:
        return value
    return f"{value} [{number(row.interval[0])}, {number(row.interval[1])}]"


def goal_text(row: BenchmarkRow) -> str:
    """The goal, and whether it is met."""
    if row.goal is None:
        return "–"
    sign = "≥" if row.better is Better.HIGHER else "≤"
    return f"{sign} {row.goal:g}: {'met' if row.is_goal_met else 'MISSED'}"


def number(value: float) -> str:
    """Four significant digits, without an exponent for sizes that people read."""
    if value == 0 or not 0.001 <= abs(value) < 1e7:
        return f"{value:.4g}"
    digits = max(0, 3 - int(f"{abs(value):e}".partition("e")[2]))
    return f"{value:,.{digits}f}"
