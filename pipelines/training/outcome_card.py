"""The part of a model card that tells of an outcome: figures with intervals, calibration, coefficients."""

from matplotlib.figure import Figure

from clinical.prediction.calibration import PlattCalibration
from clinical.worldmodel.probe import Prognosis
from pipelines.training.prognosis import OutcomeFigures
from pipelines.training.recipes import Tuning

_INK, _MUTED, _ACCENT = "#1c2733", "#7a8794", "#1f6f8b"
PLOT = "calibration.svg"


def outcome_section(
    figures: list[OutcomeFigures],
    prognosis: Prognosis,
    platt: PlattCalibration,
    tuning: Tuning | None = None,
) -> list[str]:
    """Lines of Markdown; with `tuning` the network was taught the outcome."""
    heads = len(prognosis.heads)
    taught = (
        "The network was never taught it. "
        if tuning is None
        else f"After pretraining the whole network was taught it for {tuning.num_epochs} epochs of the training "
        "patients, the objective of pretraining beside it. "
    )
    return [
        f"## {prognosis.name}, {prognosis.horizon.label} (validation patients)",
        "",
        f"{taught}Read from the state by {heads} logistic probes, each fitted on a resample of the training "
        "patients; their mean is the score, their spread the interval that is shown. Calibrated by Platt's "
        f"method on {platt.num_patients} other patients, {platt.num_outcomes} of whom had it "
        f"(slope {platt.slope:.3f}, intercept {platt.intercept:+.3f}). Intervals are 95 % bootstraps over "
        "patients. The last column is the slope of the outcome on the calibrated log odds: 1 is right.",
        "",
        *_table(figures),
        "",
        f"![Calibration]({PLOT})",
        "",
        "What is said to a clinician beside a risk is the bin of the calibration patients that it falls in:",
        "",
        *_bins(platt),
        "",
        *_coefficients(prognosis),
        "",
    ]


def _table(figures: list[OutcomeFigures]) -> list[str]:
    rows = [
        f"| {f.hour:g} h | {f.num_outcomes} / {f.num_patients} | {f.auroc:.3f} {_interval(f.auroc_95)} "
        f"| {f.average_precision:.3f} {_interval(f.average_precision_95)} | {f.brier:.4f} "
        f"| {f.brier_base_rate:.4f} | {f.slope:.2f} |"
        for f in figures
    ]
    head = (
        "| asked at | had it | AUROC | average precision | Brier | Brier base rate "
        "| calibration slope |"
    )
    return [head, "| --- " * 7 + "|", *rows]


def _interval(ends: tuple[float, float]) -> str:
    return f"[{ends[0]:.3f}, {ends[1]:.3f}]"


def _bins(platt: PlattCalibration) -> list[str]:
    rows = [
        f"| {100 * b.mean_predicted:.1f} % | {100 * b.observed:.1f} % | {b.count} |"
        for b in platt.reliability
    ]
    return ["| foretold on average | had it | patients |", "| --- " * 3 + "|", *rows]


def _coefficients(prognosis: Prognosis) -> list[str]:
    """One per dimension of the state, which has no name: to be checked, not to be read."""
    num = len(prognosis.heads[0].weights)
    means = [sum(h.weights[d] for h in prognosis.heads) / len(prognosis.heads) for d in range(num)]
    bias = sum(head.bias for head in prognosis.heads) / len(prognosis.heads)
    numbers = ", ".join(f"{mean:+.3f}" for mean in means)
    return [
        "<details><summary>Coefficients of the probe (mean of the resamples; each per standard deviation of "
        "one dimension of the state)</summary>",
        "",
        f"Intercept {bias:+.3f}; {numbers}.",
        "",
        "</details>",
    ]


def plot_calibration(figure: Figure, figures: list[OutcomeFigures]) -> None:
    """Foretold against observed, one panel per hour asked, on the validation patients."""
    for axis, told in zip(
        figure.subplots(1, len(figures), sharey=True, squeeze=False)[0], figures, strict=True
    ):
        said = [each.mean_predicted for each in told.reliability]
        had = [each.observed for each in told.reliability]
        top = max(*said, *had, 0.05) * 1.05
        axis.plot([0, top], [0, top], color=_MUTED, linewidth=1, linestyle=":")
        axis.plot(said, had, color=_ACCENT, linewidth=1.5, marker="o", markersize=3)
        axis.set_title(f"asked at {told.hour:g} h", fontsize=9, color=_INK)
        axis.set_xlabel("foretold", fontsize=8, color=_INK)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=7, colors=_MUTED)
