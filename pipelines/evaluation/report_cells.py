"""The pieces of a report page: its style, tables, and cells that show a figure with what it rests on.

Knows HTML and figures; does not know what a report is about.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from pipelines.evaluation.figures import Figure
from pipelines.evaluation.findings import Spread

STYLE = """
:root { color-scheme: light; --ink: #1d2733; --muted: #5b6672; --line: #dfe4e9; --wash: #f5f7f9;
  --good: #1b6e4b; --bad: #a4262c; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 28px 72px; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 44px 0 8px; padding-top: 18px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 26px 0 6px; }
p { margin: 6px 0 12px; max-width: 76ch; }
.aside { color: var(--muted); font-size: 13.5px; }
.verdict { margin: 22px 0 8px; padding: 14px 18px; border-left: 4px solid; background: var(--wash);
  font-size: 16px; max-width: none; }
.verdict.good { border-color: var(--good); } .verdict.bad { border-color: var(--bad); }
.verdict b { display: block; } .good b { color: var(--good); } .bad b { color: var(--bad); }
dl.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px;
  margin: 18px 0; }
dl.tiles div { background: var(--wash); padding: 10px 14px; border-radius: 6px; }
dl.tiles dt { color: var(--muted); font-size: 13px; }
dl.tiles dd { margin: 0; font-size: 21px; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; margin: 8px 0 16px; min-width: 320px; }
th, td { text-align: left; padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td { white-space: nowrap; } td.long { white-space: normal; }
th { color: var(--muted); font-weight: 500; white-space: nowrap; }
tbody th { color: var(--ink); font-weight: 400; white-space: normal; max-width: 300px; }
tbody th small { color: var(--muted); }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
td small { color: var(--muted); display: block; }
td.none { color: var(--muted); font-style: italic; white-space: nowrap; }
code { font: 12.5px/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; word-break: break-all; }
svg { max-width: 100%; height: auto; display: block; margin: 10px 0; }
@media print { main { max-width: none; padding: 0; } h2 { break-after: avoid; } }
"""


def counts_table(title: str, head: tuple[str, str], counts: Mapping[str, int]) -> str:
    """A titled table of counts, or the word none."""
    heading = f"<h3>{title}</h3>\n" if title else ""
    if not counts:
        return f'{heading}<p class="aside">None.</p>\n'
    return heading + table(head, [row(name, count_cell(count)) for name, count in counts.items()])


def table(head: Sequence[str], rows: Sequence[str]) -> str:
    """A table of finished rows that scrolls by itself where the page is narrow."""
    cells = "".join(f"<th scope='col'>{escape(name)}</th>" for name in head)
    top = f"<thead><tr>{cells}</tr></thead>" if any(head) else ""
    body = "\n".join(rows)
    return f'<div class="scroll"><table>{top}<tbody>\n{body}\n</tbody></table></div>\n'


def row(name: str, cell: str) -> str:
    """A row of a name and one finished cell."""
    return f"<tr><th>{escape(name)}</th>{cell}</tr>"


def text_cell(text: str) -> str:
    """A cell of text, escaped."""
    return f"<td{' class=long' if len(text) > 40 else ''}>{escape(text)}</td>"


def count_cell(count: int) -> str:
    """A cell of a count."""
    return f'<td class="number">{count:,}</td>'


def absent(text: str, *, width: int = 1) -> str:
    """A cell, `width` columns wide, that says why there is no figure."""
    span = f' colspan="{width}"' if width > 1 else ""
    return f'<td class="none"{span}>{escape(text)}</td>'


def figure_cell(figure: Figure, *, as_share: bool = False, has_basis: bool = True) -> str:
    """A cell of a figure with its interval and what it rests on, or why there is none."""
    if figure.value is None or figure.low is None or figure.high is None:
        return absent(f"insufficient: {figure.why_not}")
    show = _share if as_share else _number
    basis = f"n {figure.n:,}" if figure.events is None else f"{figure.events:,} of {figure.n:,}"
    below = f"<small>{basis}</small>" if has_basis else ""
    return (
        f'<td class="number" title="{figure.patients:,} patients">{show(figure.value)}'
        f"<small>[{show(figure.low)}, {show(figure.high)}]</small>{below}</td>"
    )


def _share(value: float) -> str:
    return f"{value:.1%}"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def spread_text(spread: Spread) -> str:
    """A middle with its quartiles and n, in words."""
    if spread.median is None or spread.low is None or spread.high is None:
        return "none yet"
    quartiles = f"{_duration(spread.low)} to {_duration(spread.high)}"
    return f"{_duration(spread.median)} ({quartiles}; n {spread.n:,})"


def _duration(seconds: float) -> str:
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} s"


def spoken(counts: Mapping[str, int]) -> dict[str, int]:
    """The same counts, names without underscores."""
    return {name.replace("_", " "): count for name, count in counts.items()}


def listed(items: Iterable[object]) -> str:
    """The items, or the word none."""
    return ", ".join(str(item) for item in items) or "none"


def or_none(value: int | None) -> str:
    """The number, or the word none."""
    return "none" if value is None else f"{value:,}"
