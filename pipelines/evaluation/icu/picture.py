"""The table as a picture: differences to trees with their intervals, and calibration of what the folds chose.

Knows matplotlib, rows of the benchmark file and a reliability curve, nothing of how they were measured.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from pipelines.evaluation.benchmark_file import BenchmarkRow
from pipelines.evaluation.metrics import CurvePoint

_INK, _LINE = "#1f6f8b", "#d9dee4"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "icu",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_PREFIX = "p12.death.delta."


def picture(rows: Sequence[BenchmarkRow], curve: Sequence[CurvePoint]) -> str:
    """An SVG of both."""
    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=(9.6, 3.2), layout="constrained")
        left, right = canvas.subplots(1, 2)
        _differences(left, [row for row in rows if row.id.startswith(_PREFIX)])
        _calibration(right, curve)
        FigureCanvasSVG(canvas)
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    label = "Differences to boosted trees, and calibration"
    return body.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _differences(axes: Axes, rows: Sequence[BenchmarkRow]) -> None:
    places = range(len(rows), 0, -1)
    axes.axvline(0.0, color=_LINE, linewidth=1.2)
    for place, row in zip(places, rows, strict=True):
        low, high = row.interval or (row.value, row.value)
        axes.plot([low, high], [place, place], color=_INK, linewidth=1.2)
        axes.plot([row.value], [place], "o", color=_INK, markersize=4)
    axes.set_yticks(list(places), [row.id.removeprefix(_PREFIX) for row in rows])
    axes.set_title("Death in hospital: less boosted trees, 95 % intervals")
    axes.tick_params(axis="y", length=0)


def _calibration(axes: Axes, curve: Sequence[CurvePoint]) -> None:
    predicted = [point.mean_predicted for point in curve]
    observed = [point.observed.value or 0.0 for point in curve]
    low = [value - (p.observed.low or 0.0) for value, p in zip(observed, curve, strict=True)]
    high = [(p.observed.high or 0.0) - value for value, p in zip(observed, curve, strict=True)]
    reach = 1.05 * max([*predicted, *(p.observed.high or 0.0 for p in curve)], default=1.0)
    axes.plot([0, reach], [0, reach], color=_LINE, linewidth=1.2)
    axes.errorbar(
        predicted, observed, yerr=[low, high], fmt="o", color=_INK, markersize=4, elinewidth=1
    )
    axes.set_title("Calibration of the readout that the folds chose")
    axes.set_xlabel("predicted")
    axes.set_ylabel("observed")
