"""The table as a picture: error against days ahead, one panel for each confounding.

Knows matplotlib and the rows of the benchmark file, nothing of how they were measured.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from pipelines.evaluation.benchmark_file import BenchmarkRow

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tumour",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_LINES = {
    "trees": ("#b3622a", "boosted trees"),
    "filter": ("#66717e", "filter told the equation"),
    "floor": ("#aab2bc", "true parameters"),
    "ours": ("#1f6f8b", "ours"),
}
_ROW = re.compile(r"tumour\.corrected\.(one_step|tau(\d))\.g([\d.]+)$")


def picture(rows: Sequence[BenchmarkRow]) -> str:
    """An SVG of the corrected table; "" where none of its rows is there."""
    by_gamma: dict[float, dict[int, BenchmarkRow]] = {}
    for row in rows:
        if found := _ROW.match(row.id):
            tau = int(found[2] or 1)
            by_gamma.setdefault(float(found[3]), {})[tau] = row
    if not by_gamma:
        return ""
    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=(2.4 * len(by_gamma) + 1.2, 2.8), layout="constrained")
        panels = canvas.subplots(1, len(by_gamma), sharey=True, squeeze=False)[0]
        for panel, gamma in zip(panels, sorted(by_gamma), strict=True):
            _panel(panel, gamma, by_gamma[gamma])
        panels[0].set_ylabel("error, % of the lethal volume")
        panels[-1].legend(frameon=False, fontsize=8)
        return _svg(canvas)


def _panel(axes: Axes, gamma: float, rows: Mapping[int, BenchmarkRow]) -> None:
    taus = sorted(rows)
    for name, (colour, label) in _LINES.items():
        values = [
            rows[tau].value if name == "ours" else rows[tau].baselines.get(name, float("nan"))
            for tau in taus
        ]
        axes.plot(taus, values, "o-", color=colour, label=label, markersize=3, linewidth=1.2)
    low = [rows[tau].interval[0] if rows[tau].interval else rows[tau].value for tau in taus]  # type: ignore[index]
    high = [rows[tau].interval[1] if rows[tau].interval else rows[tau].value for tau in taus]  # type: ignore[index]
    axes.fill_between(taus, low, high, color=_LINES["ours"][0], alpha=0.15, linewidth=0)
    axes.set_title(f"gamma {gamma:g}")
    axes.set_xlabel("days ahead (1: all days; else from day 1 on)", fontsize=7)
    axes.set_ylim(bottom=0)


def _svg(canvas: Canvas) -> str:
    FigureCanvasSVG(canvas)
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return body.replace("<svg ", '<svg role="img" aria-label="Error against days ahead" ', 1)
