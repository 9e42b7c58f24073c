"""The report's plots as SVG text, drawn without a display and the same bytes for the same figures.

Knows matplotlib; text stays text, in the reader's own font.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from pipelines.evaluation.figures import Figure
from pipelines.evaluation.findings import QuantityFindings, RiskFindings

_INK, _MUTED, _LINE, _ACCENT = "#1d2733", "#66717e", "#d9dee4", "#1f6f8b"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "text.color": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_COLUMNS = 3
# Names that matplotlib gives to groups: nothing refers to them, and two plots share them.
_GROUP_NAME = re.compile(r' id="(?:[A-Za-z]+_)+[0-9]+"')


def reliability(findings: Sequence[RiskFindings]) -> str:
    """Predicted against observed, one panel for each risk that has enough events; "" if none has."""
    drawn = [each for each in findings if each.figures.curve]
    if not drawn:
        return ""
    rows = -(-len(drawn) // _COLUMNS)
    with mpl.rc_context({**_STYLE, "svg.hashsalt": "reliability"}):
        canvas = Canvas(figsize=(9.6, 3.3 * rows), layout="constrained")
        for number, each in enumerate(drawn, start=1):
            _reliability_panel(canvas.add_subplot(rows, _COLUMNS, number), each)
        return _svg(canvas, "Predicted probability against observed share")


def _reliability_panel(axes: Axes, findings: RiskFindings) -> None:
    curve = findings.figures.curve
    predicted = [point.mean_predicted for point in curve]
    observed = [point.observed.value or 0.0 for point in curve]
    below = [share - (p.observed.low or 0.0) for share, p in zip(observed, curve, strict=True)]
    above = [(p.observed.high or 0.0) - share for share, p in zip(observed, curve, strict=True)]
    reach = 1.05 * max(*predicted, *(p.observed.high or 0.0 for p in curve))
    axes.plot([0, reach], [0, reach], color=_LINE, linewidth=1.2, zorder=1)
    axes.errorbar(
        predicted,
        observed,
        yerr=[below, above],
        fmt="o",
        color=_ACCENT,
        markersize=4,
        elinewidth=1,
        zorder=2,
    )
    axes.set_xlim(0, reach)
    axes.set_ylim(0, reach)
    axes.set_title(f"{findings.subject.name}, {findings.subject.horizon}")
    axes.set_xlabel("predicted")
    axes.set_ylabel("observed")


def discrimination(findings: Sequence[RiskFindings]) -> str:
    """AUROC with its interval, one line for each risk that has enough events; "" if none has."""
    drawn = [each for each in findings if each.figures.auroc.is_sufficient]
    if not drawn:
        return ""
    labels = [f"{each.subject.name}, {each.subject.horizon}" for each in drawn]
    with mpl.rc_context({**_STYLE, "svg.hashsalt": "discrimination"}):
        canvas = Canvas(figsize=(9.6, 0.8 + 0.32 * len(drawn)), layout="constrained")
        axes = canvas.add_subplot()
        axes.axvline(0.5, color=_LINE, linewidth=1.2)
        _rows(axes, labels, [each.figures.auroc for each in drawn])
        axes.set_xlabel("AUROC; 0.5 is chance")
        return _svg(canvas, "AUROC with 95 % intervals")


def coverage(findings: Sequence[QuantityFindings]) -> str:
    """Share of measured values inside the widest band, one line for each quantity; "" if none."""
    drawn = [
        (each, max(each.figures.coverage))
        for each in findings
        if any(figure.is_sufficient for figure in each.figures.coverage.values())
    ]
    if not drawn:
        return ""
    labels = [f"{each.subject.name}, {each.subject.horizon}" for each, _ in drawn]
    with mpl.rc_context({**_STYLE, "svg.hashsalt": "coverage"}):
        canvas = Canvas(figsize=(9.6, 0.8 + 0.28 * len(drawn)), layout="constrained")
        axes = canvas.add_subplot()
        for level in sorted({level for _, level in drawn}):
            axes.axvline(level, color=_LINE, linewidth=1.2)
        _rows(axes, labels, [each.figures.coverage[level] for each, level in drawn])
        axes.set_xlabel("share of measured values inside the widest band; the line is what it says")
        return _svg(canvas, "Coverage of the widest band with 95 % intervals")


def _rows(axes: Axes, labels: Sequence[str], figures: Sequence[Figure]) -> None:
    places = range(len(labels), 0, -1)
    for place, figure in zip(places, figures, strict=True):
        low, value, high = figure.low or 0.0, figure.value or 0.0, figure.high or 0.0
        axes.plot([low, high], [place, place], color=_ACCENT, linewidth=1.2)
        axes.plot([value], [place], "o", color=_ACCENT, markersize=4)
    axes.set_yticks(list(places), labels)
    axes.set_ylim(0.4, len(labels) + 0.6)
    axes.tick_params(axis="y", length=0)


def _svg(canvas: Canvas, title: str) -> str:
    FigureCanvasSVG(canvas)
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    body = _GROUP_NAME.sub("", text[text.index("<svg") :])
    # The embedded description of the picture names vocabularies on the web; nobody needs it here.
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    return body.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
