"""The table: one line for each fault, as text, as JSON, and as a plot of recovery times."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.scene import Result

_COLUMNS = (
    "offered",
    "accepted",
    "refused",
    "unknown",
    "stored",
    "lost",
    "twice",
    "gaps",
    "recovery p50 / max (bar), s",
    "seed",
)
_RECOVERING = ("K2", "K4", "K6", "K7", "K18")
WIDTH = 132


def render(results: Sequence[Result], console: Console) -> None:
    """Print it: a line for each fault, and under the table what was seen and what was missed."""
    table = Table("fault", "rounds", *_COLUMNS, title="Faults")
    for each in results:
        table.add_row(*_cells(each))
    console.print(table)
    for each in results:
        console.print(f"{each.row}: {_words(each)}", soft_wrap=True, highlight=False)
    for bar, verdict in bars(results).items():
        console.print(f"{bar}: {verdict}", soft_wrap=True, highlight=False)


def bars(results: Sequence[Result]) -> dict[str, str]:
    """Each bar of the design that these rows speak of: met, or missed where."""
    played = {each.row: each for each in results if not each.not_applicable}
    broken = [row for row, each in played.items() if each.lost or each.twice or each.audit_gaps]
    slow = [row for row in _RECOVERING if row in played and played[row].is_late]
    found = {
        "C1 nothing lost, nothing twice, no audit gap": broken,
        "C3 recovery in time": slow,
        "C4 poison is set aside": [row for row in ("K14",) if row in played and played[row].missed],
        "C5 again and again changes nothing": [
            row for row in ("K15",) if row in played and played[row].missed
        ],
    }
    spoken_of = {"C3": set(_RECOVERING), "C4": {"K14"}, "C5": {"K15"}, "C1": set(played)}
    return {
        bar: f"missed in {', '.join(rows)}" if rows else "met"
        for bar, rows in found.items()
        if spoken_of[bar[:2]] & set(played)
    }


def _words(each: Result) -> str:
    if each.not_applicable:
        return each.not_applicable
    verdict = "met" if each.is_met else "MISSED: " + "; ".join(each.faults[:6])
    return f"{verdict}. {'; '.join(each.seen)}"


def _cells(each: Result) -> list[str]:
    if each.not_applicable:
        return [f"{each.row} {each.title}", *["–"] * (len(_COLUMNS)), str(each.seed)]
    counts = (each.offered, each.accepted, each.refused, each.unknown, each.stored)
    wrong = (each.lost, each.twice, each.audit_gaps)
    numbers = map(str, (each.rounds, *counts, *wrong))
    return [f"{each.row} {each.title}", *numbers, _recovery(each), str(each.seed)]


def _recovery(each: Result) -> str:
    if each.p50 is None or each.longest is None:
        return "–"
    bar = "" if each.bar_seconds is None else f" ({each.bar_seconds:.0f})"
    return f"{each.p50:.1f} / {each.longest:.1f}{bar}"


def write(results: Sequence[Result], folder: Path, about: dict[str, object]) -> None:
    """`chaos.json`, `chaos.txt` and `recovery.png` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {**asdict(each), "p50": each.p50, "max": each.longest, "is_met": each.is_met}
        for each in results
    ]
    content = json.dumps({**about, "bars": bars(results), "rows": rows}, indent=1, default=str)
    (folder / "chaos.json").write_text(content + "\n", "utf-8")
    with (folder / "chaos.txt").open("w", encoding="utf-8") as file:
        render(results, Console(file=file, width=WIDTH))
    _plot([each for each in results if each.recoveries], folder / "recovery.png")


def _plot(results: Sequence[Result], path: Path) -> None:
    if not results:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.5 * len(results) + 1.5))
    for place, each in enumerate(results):
        axes.plot(each.recoveries, [place] * len(each.recoveries), "o", color="tab:blue", alpha=0.6)
        if each.bar_seconds is not None:
            axes.plot([each.bar_seconds], [place], "|", color="tab:red", markersize=18)
    axes.set_yticks(range(len(results)), [f"{each.row} {each.title}" for each in results])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds until full service (red: bar)")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
