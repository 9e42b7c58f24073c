"""The model card and its plots: what a checkpoint is, how it did, and where it loses.

Knows how to write; every figure comes from the report of the run.
"""

import io
from collections.abc import Callable
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from clinical.prediction.calibration import PlattCalibration
from clinical.worldmodel.probe import Prognosis
from pipelines.training.evaluate import RiskFigures, ValueFigures
from pipelines.training.outcome_card import PLOT as CALIBRATION
from pipelines.training.outcome_card import outcome_section, plot_calibration
from pipelines.training.report import Report
from pipelines.training.watching import plot_gates

CARD, LOSSES, SKILLS, GATES = "MODEL_CARD.md", "losses.svg", "figures.svg", "gates.svg"
FittedOutcome = tuple[Prognosis, PlattCalibration]
_STAR = r"\*"
_INK, _MUTED, _ACCENT = "#1c2733", "#7a8794", "#1f6f8b"


def documents(report: Report, fitted: FittedOutcome | None = None) -> dict[str, bytes]:
    """The card and its plots, by file name."""
    files = {
        CARD: card(report, fitted).encode(),
        LOSSES: _svg(lambda figure: _plot_losses(figure, report)),
        SKILLS: _svg(lambda figure: _plot_values(figure, report)),
        GATES: _svg(lambda figure: plot_gates(figure, report.gate_history)),
    }
    if report.outcomes:
        files[CALIBRATION] = _svg(lambda figure: plot_calibration(figure, report.outcomes))
    return files


def card(report: Report, fitted: FittedOutcome | None = None) -> str:
    """The model card in Markdown."""
    recipe, patients, about = report.recipe, report.num_patients, report.about
    return "\n".join(
        [
            f"# {report.name}",
            "",
            "A temporal JEPA over clinical timelines: it foretells latents for several windows after a",
            "question and reads next values and risks from them. **Not for clinical use.**",
            *_warning(report),
            "",
            "## What it was trained on",
            "",
            about.data,
            "",
            f"**Licence of the data.** {about.licence}",
            "",
            f"**For:** {about.is_for}",
            "",
            f"**Not for:** {about.is_not_for}",
            "",
            f"Patients: {patients['training']} for training, {patients['validation']} for validation, "
            f"{patients['calibration']} for calibration, split by a hash of their identity; "
            f"{report.num_events} events in training. Recipe `{recipe.name}`, seed {recipe.seed}, "
            f"{recipe.num_steps} steps, {report.num_parameters:,} parameters. "
            f"Training took {report.seconds['train']:.0f} s, calibration and checks "
            f"{report.seconds['calibrate']:.0f} s ({report.machine}).",
            "",
            "## Next values (validation patients)",
            "",
            "Mean absolute error in standard deviations of each code, averaged over codes; skill is the",
            "share of the error of repeating the last value that the model takes away (below 0: worse).",
            "",
            *_value_table(report.values),
            "",
            "![Errors](figures.svg)",
            "",
            *_risks(report),
            *(
                outcome_section(report.outcomes, *fitted, report.recipe.tuning)
                if fitted and report.outcomes
                else []
            ),
            "## Where it loses",
            "",
            *_losses_in_words(report),
            "",
            "## Health",
            "",
            *_gate_table(report),
            "",
            "Without the signs marked with a star no checkpoint is written. Over the steps of the run, on",
            "validation patients (red: missing; the last is the averaged model's):",
            "",
            "![Signs of health](gates.svg)",
            "",
            "![Losses](losses.svg)",
            "",
            "## Limits",
            "",
            *(f"- {limit}" for limit in about.limits),
            "",
        ]
    )


def _risks(report: Report) -> list[str]:
    if not report.recipe.model.says_family_risks:
        return []
    return [
        "## Risks (validation patients)",
        "",
        "Every patient counts once, however many questions were asked. AUROC is left out under five",
        "patients with the outcome, the model's Brier score where it is not calibrated: there it",
        "abstains. With so few patients no difference in these tables is beyond chance.",
        "",
        *_risk_table(report.risks),
        "",
    ]


def _value_table(values: list[ValueFigures]) -> list[str]:
    rows = [
        f"| {v.horizon} | {v.num_codes} | {v.num_values} | {v.model:.3f} | {v.persistence:.3f} "
        f"| {v.training_mean:.3f} | {v.skill:+.3f} | {_or_dash(v.coverage_90)} |"
        for v in values
    ]
    head = "| window | codes | values | model | last value | training mean | skill | in the 90 % interval |"
    return [head, "| --- " * 8 + "|", *rows]


def _risk_table(risks: list[RiskFigures]) -> list[str]:
    rows = [
        f"| {r.name} | {r.horizon} | {r.num_outcomes} / {r.num_patients} | {_or_dash(r.auroc_model)} "
        f"| {_or_dash(r.auroc_age_sex)} | {_or_dash(r.brier_model, 4)} | {r.brier_base_rate:.4f} "
        f"| {r.brier_age_sex:.4f} |"
        for r in risks
    ]
    head = (
        "| risk | window | patients with it | AUROC | AUROC age + sex | Brier | Brier base rate "
        "| Brier age + sex |"
    )
    return [head, "| --- " * 8 + "|", *rows]


def _losses_in_words(report: Report) -> list[str]:
    lost = [
        f"- Next values, {v.horizon}: worse than repeating the last value ({v.model:.3f} against "
        f"{v.persistence:.3f})."
        for v in report.values
        if v.skill <= 0
    ]
    for r in report.risks:
        best = min(r.brier_base_rate, r.brier_age_sex)
        if r.brier_model is not None and r.brier_model >= best:
            lost.append(
                f"- {r.name}, {r.horizon}: Brier {r.brier_model:.4f}, no better than {best:.4f} "
                "without the model."
            )
    return lost or ["In no figure of the tables above is it behind its baselines."]


def _warning(report: Report) -> list[str]:
    if report.is_healthy:
        return []
    missing = "; ".join(gate.name for gate in report.failed_gates if gate.is_starred)
    return ["", f"**Unhealthy, written only because it was asked for.** Missing: {missing}."]


def _gate_table(report: Report) -> list[str]:
    rows = [
        f"| {_STAR if g.is_starred else ''}{g.name} | {_or_dash(g.found)} | {g.healthy} | {g.verdict} |"
        for g in report.gates
    ]
    return ["| sign | found | healthy | is healthy |", "| --- " * 4 + "|", *rows]


def _or_dash(number: float | None, digits: int = 3) -> str:
    return "–" if number is None else f"{number:.{digits}f}"


def _plot_losses(figure: Figure, report: Report) -> None:
    names = ("latent", "spread", "values", "measured", "happened", "inverse")
    axes = figure.subplots(1, len(names), sharex=True)
    steps = [row["step"] for row in report.losses]
    for name, axis in zip(names, axes, strict=True):
        axis.plot(steps, [row[name] for row in report.losses], color=_ACCENT, linewidth=1.5)
        axis.set_title(name, fontsize=9, color=_INK)
        _calm(axis)


def _plot_values(figure: Figure, report: Report) -> None:
    axis = figure.subplots()
    labels = [v.horizon for v in report.values]
    series = [
        ("model", [v.model for v in report.values], _ACCENT),
        ("last value", [v.persistence for v in report.values], _MUTED),
        ("training mean", [v.training_mean for v in report.values], "#c9d1d9"),
    ]
    for number, (name, heights, colour) in enumerate(series):
        places = [place + 0.25 * (number - 1) for place in range(len(labels))]
        axis.bar(places, heights, width=0.22, color=colour, label=name)
    axis.set_xticks(range(len(labels)), labels)
    axis.set_ylabel("mean absolute error, sd", fontsize=8, color=_INK)
    axis.legend(frameon=False, fontsize=8)
    _calm(axis)


def _calm(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=7, colors=_MUTED)


def _svg(draw: Callable[[Figure], None]) -> bytes:
    buffer = io.BytesIO()
    # A fixed salt and no date: the same figures give the same bytes.
    with rc_context({"svg.hashsalt": "clinical", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 2.4), layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
