"""The report of an audit: one HTML page that needs nothing but itself, the same bytes for the same findings.

Knows how findings are shown. Holds no script, asks nobody for anything, and names predictions by
their ids alone.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from clinical.prediction.replay import Replay
from pipelines.evaluation import plots
from pipelines.evaluation.findings import (
    Findings,
    QuantityFindings,
    RiskFindings,
    WithheldShare,
    log_sentence,
)
from pipelines.evaluation.report_cells import (
    STYLE,
    absent,
    count_cell,
    counts_table,
    figure_cell,
    listed,
    or_none,
    row,
    spoken,
    spread_text,
    table,
    text_cell,
)

_MAX_LISTED = 50
_RISK_TABLES = (
    ("Discrimination", ("auroc", "auprc", "brier"), ("AUROC", "AUPRC", "Brier score")),
    (
        "Calibration",
        ("in_the_large", "intercept", "slope", "ece"),
        ("in the large", "intercept", "slope", "ECE"),
    ),
)


def render(findings: Findings) -> str:
    """The page."""
    sections = (
        _opening(findings),
        _log_section(findings),
        _replay_section(findings),
        _risk_section(findings.risks),
        _quantity_section(findings.quantities),
        _abstention_section(findings),
        _review_section(findings),
        _intake_section(findings),
        _method_section(findings),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Audit of predictions</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def digest(page: str) -> str:
    """Hex SHA-256 of the page as it is written."""
    return hashlib.sha256(page.encode()).hexdigest()


def _opening(findings: Findings) -> str:
    until = findings.as_of.isoformat(timespec="seconds") if findings.as_of else "nothing yet"
    tone, word = ("good", "Passed.") if findings.is_passed else ("bad", "Not passed.")
    tiles = {
        "predictions": findings.num_predictions,
        "patients": findings.num_patients,
        "recomputed": len(findings.replay.replayed),
        "log entries": findings.log.size,
        "decisions": sum(findings.reviews.by_verdict.values()),
    }
    cells = "".join(
        f"<div><dt>{name}</dt><dd>{count:,}</dd></div>" for name, count in tiles.items()
    )
    models = ", ".join(escape(name) for name in findings.by_model) or "none"
    return (
        "<h1>Audit of predictions</h1>\n"
        f'<p class="aside">Everything up to {escape(until)} · model {models} · '
        f"seed {findings.seed}</p>\n"
        f'<p class="verdict {tone}"><b>{word}</b>{escape(findings.verdict)}</p>\n'
        f'<dl class="tiles">{cells}</dl>'
    )


def _log_section(findings: Findings) -> str:
    log = findings.log
    rows = [
        ("verdict", text_cell(log_sentence(log))),
        ("first bad index", text_cell(or_none(log.report.first_bad_index))),
        ("heads that are wrong, by size", text_cell(listed(log.report.bad_head_sizes))),
        ("stored nodes that are wrong", count_cell(log.report.num_bad_nodes)),
        ("entries held against what they vouch for", count_cell(log.report.payloads.num_checked)),
        ("of these, vouching for something else", count_cell(len(log.report.payloads.bad))),
        ("of these, of erased patients", count_cell(log.report.payloads.num_without_salt)),
        ("entries still without a leaf", count_cell(log.report.num_unsequenced)),
        ("tree head of what was audited", f"<td><code>{log.size} {log.root}</code></td>"),
    ]
    return (
        "<h2>Audit log</h2>\n"
        "<p>Every entry was hashed again and compared with its leaf in the Merkle tree (RFC 6962), and "
        "every stored head with its leaves. Keep the tree head below outside this service: whoever "
        "holds it can tell later whether anything before it was changed.</p>\n"
        + table(("", ""), [row(name, cell) for name, cell in rows])
        + counts_table("Entries by kind", ("kind", "entries"), log.by_kind)
    )


def _replay_section(findings: Findings) -> str:
    replay = findings.replay
    opening = (
        "<h2>Recomputed predictions</h2>\n"
        f"<p>{len(replay.replayed):,} of {replay.num_eligible:,} predictions of the serving model were "
        "asked again from their stored inputs and compared by output digest. "
        f"{replay.num_of_other_models:,} were made by other models and cannot be asked again.</p>\n"
    )
    if replay.why_not:
        return f"{opening}<p><b>Nothing was recomputed:</b> {escape(replay.why_not)}.</p>"
    counts = {each.value: count for each, count in replay.counts.items()}
    unequal = [each for each in replay.replayed if each.replay is not Replay.EQUAL]
    rows = [
        f"<tr><th><code>{each.prediction_id}</code></th>{text_cell(each.replay.value)}"
        f"{text_cell(listed(each.what))}</tr>"
        for each in unequal[:_MAX_LISTED]
    ]
    summary = counts_table("", ("second answer", "predictions"), counts)
    if not rows:
        return opening + summary
    each_of_them = table(("prediction", "second answer", "what differs"), rows)
    title = f"The first {len(rows)} of {len(unequal)} that are not bitwise equal"
    return f"{opening}{summary}<h3>{title}</h3>\n{each_of_them}"


def _risk_section(risks: Sequence[RiskFindings]) -> str:
    opening = (
        "<h2>Risks</h2>\n"
        "<p>Said probability beside what happened, where the record is long enough to tell. "
        "In the large: 0 is right, below 0 means too high on average. Slope: 1 is right, below 1 means "
        "too extreme. A figure that rests on fewer than 20 events is not given.</p>\n"
    )
    if not risks:
        return f"{opening}<p>No probability was said.</p>"
    parts = [opening, _happened_table(risks)]
    for title, names, heads in _RISK_TABLES:
        rows = [_risk_row(each, names, name) for name, each in _named(risks)]
        parts.append(f"<h3>{title}</h3>\n{table(('risk', 'window', *heads), rows)}")
        parts.append(plots.discrimination(risks) if title == "Discrimination" else "")
    curves = plots.reliability(risks)
    if curves:
        parts.append(f"<h3>Predicted against observed, bins of equal size</h3>\n{curves}")
    return "\n".join(part for part in parts if part)


def _happened_table(risks: Sequence[RiskFindings]) -> str:
    rows = [
        f"<tr><th>{escape(name)}</th>{text_cell(each.subject.horizon)}"
        f"{count_cell(each.figures.prevalence.n)}{count_cell(each.num_unknown)}"
        f"{figure_cell(each.figures.prevalence, as_share=True)}</tr>"
        for name, each in _named(risks)
    ]
    return table(("risk", "window", "known", "unknown", "happened"), rows)


def _named(
    findings: Sequence[RiskFindings] | Sequence[QuantityFindings],
) -> Iterator[tuple[str, Any]]:
    """Each of them with its name, which is empty where the row above has the same."""
    above = ""
    for each in findings:
        name = each.subject.name
        yield ("" if name == above else name), each
        above = name


def _risk_row(findings: RiskFindings, names: Sequence[str], name: str) -> str:
    figures = [getattr(findings.figures, each) for each in names]
    reasons = {figure.why_not for figure in figures}
    if len(reasons) == 1 and not figures[0].is_sufficient:
        cells = absent(f"insufficient: {figures[0].why_not}", width=len(figures))
    else:
        cells = "".join(figure_cell(figure) for figure in figures)
    return f"<tr><th>{escape(name)}</th>{text_cell(findings.subject.horizon)}{cells}</tr>"


def _quantity_section(quantities: Sequence[QuantityFindings]) -> str:
    opening = (
        "<h2>Values</h2>\n"
        "<p>Said median and bands beside the first value measured in the window. Skill compares the "
        "mean absolute error with that of repeating the last known value: above 0 is better. CRPS "
        "is approximated by the weighted interval score.</p>\n"
    )
    if not quantities:
        return f"{opening}<p>No value was said.</p>"
    shown = [each for each in quantities if each.figures.mae.is_sufficient]
    few = [each for each in quantities if not each.figures.mae.is_sufficient]
    levels = sorted({level for each in quantities for level in each.figures.coverage})
    heads = [f"inside {level:.0%} band" for level in levels]
    widths = [f"width {level:.0%}" for level in levels[-1:]]
    head = ("quantity", "window", "measured", *heads, *widths, "MAE", "CRPS", "skill")
    rows = [_quantity_row(each, levels, name) for name, each in _named(shown)]
    shown_table = table(head, rows) if rows else "<p>No quantity was measured 20 times.</p>"
    names = ", ".join(
        f"{escape(each.subject.name)} {escape(each.subject.horizon)} ({each.figures.mae.n})"
        for each in few
    )
    aside = f'<p class="aside">Insufficient, under 20 values: {names}.</p>' if few else ""
    return f"{opening}{shown_table}{aside}{plots.coverage(shown)}"


def _quantity_row(findings: QuantityFindings, levels: Sequence[float], name: str) -> str:
    figures, subject = findings.figures, findings.subject
    unit = f" <small>{escape(subject.unit)}</small>" if name and subject.unit else ""
    cells = [
        figure_cell(figures.coverage[level], as_share=True, has_basis=False)
        if level in figures.coverage
        else absent("–")
        for level in levels
    ]
    cells += [
        figure_cell(figures.width[level], has_basis=False)
        for level in levels[-1:]
        if level in figures.width
    ]
    cells += [figure_cell(each, has_basis=False) for each in (figures.mae, figures.crps)]
    return (
        f"<tr><th>{escape(name)}{unit}</th>{text_cell(subject.horizon)}"
        f"{count_cell(figures.mae.n)}{''.join(cells)}{figure_cell(figures.skill)}</tr>"
    )


def _abstention_section(findings: Findings) -> str:
    total = sum(each.asked for each in findings.withheld)
    withheld = sum(each.withheld for each in findings.withheld)
    sentence = f"{withheld:,} of {total:,} readouts were withheld." if total else "None was asked."
    reasons: Counter[str] = Counter()
    for each in findings.withheld:
        reasons.update(each.by_reason)
    parts = (
        f"<h2>Abstention</h2>\n<p>Where the model declined to answer, and why. {sentence}</p>\n",
        counts_table(
            "Whole predictions withheld", ("reason", "predictions"), spoken(findings.abstained)
        ),
        counts_table("Readouts withheld", ("reason", "readouts"), spoken(dict(reasons))),
        _withheld_table(findings.withheld),
    )
    return "".join(parts)


def _withheld_table(shares: Sequence[WithheldShare]) -> str:
    """Readouts down, horizons across; a cell says how much was withheld, and on hovering why."""
    horizons = list(dict.fromkeys(each.horizon for each in shares))
    by_name: dict[str, dict[str, WithheldShare]] = {}
    for each in shares:
        by_name.setdefault(each.name, {})[each.horizon] = each
    rows = [
        row(name, "".join(_withheld_cell(found.get(horizon)) for horizon in horizons))
        for name, found in by_name.items()
    ]
    return table(("share withheld", *horizons), rows) if rows else ""


def _withheld_cell(share: WithheldShare | None) -> str:
    if share is None or not share.asked:
        return absent("–")
    why = "; ".join(f"{name} {count:,}" for name, count in spoken(share.by_reason).items())
    part = f"{share.withheld / share.asked:.0%}<small>of {share.asked:,}</small>"
    return f'<td class="number" title="{escape(why)}">{part}</td>'


def _review_section(findings: Findings) -> str:
    reviews = findings.reviews
    rows = [
        row("from opened to claimed", f"<td>{spread_text(reviews.to_claim)}</td>"),
        row("from claimed to signed", f"<td>{spread_text(reviews.to_sign)}</td>"),
        row("overridden (disagree, of those judged)", figure_cell(reviews.override, as_share=True)),
    ]
    return (
        "<h2>Clinicians</h2>\n"
        + table(("", "median (quartiles)"), rows)
        + counts_table("Reviews by state", ("state", "reviews"), spoken(reviews.by_state))
        + counts_table("Decisions by verdict", ("verdict", "decisions"), spoken(reviews.by_verdict))
        + counts_table("Reasons given", ("reason", "decisions"), spoken(reviews.by_reason))
    )


def _intake_section(findings: Findings) -> str:
    intake = findings.intake
    return (
        "<h2>Intake</h2>\n"
        f"<p>{intake.num_deliveries:,} deliveries are held as received. What could not be understood "
        "is kept aside with its reason; codes and units that are not mapped are kept as sent.</p>\n"
        + counts_table("Quarantined records", ("reason", "records"), intake.quarantined)
        + counts_table("Code systems not mapped", ("system", "codes"), intake.unmapped_systems)
        + counts_table("Units not mapped", ("unit as sent", "values"), intake.unmapped_units)
    )


def _method_section(findings: Findings) -> str:
    return (
        "<h2>How it was computed</h2>\n"
        '<p class="aside">In brackets: 95 % intervals by percentile bootstrap over patients '
        f"({findings.resamples:,} resamples, seed {findings.seed}; ECE by the basic interval), for "
        "shares Wilson's with the effective number of rows. An outcome counts only if it became known "
        "after the question and surely occurred inside the window; where the record ends before the "
        "window does and no death is on record, it is unknown, not absent. Patients whose record ends "
        "early are thus left out, and those who come often are known more often: the figures speak of "
        "patients who stay in view. Logistic recalibration after Cox (1958), interval score after "
        "Bracher et al. (2021), ECE over 15 bins of equal mass.</p>"
    )
