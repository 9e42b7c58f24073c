"""The audit's statistics agree with kept libraries, and their intervals hold the simulated truth."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from pipelines.evaluation import metrics
from pipelines.evaluation.figures import Sampling, estimate, mean_of, proportion, wilson
from pipelines.evaluation.metrics import risk_figures


def one_each(count: int, *, seed: int = 0, resamples: int = 200) -> Sampling:
    return Sampling(patients=np.arange(count), seed=seed, resamples=resamples)


def simulated(count: int, seed: int, *, slope: float = 1.0, intercept: float = 0.0):
    """Probabilities and outcomes whose true recalibration is known."""
    generator = np.random.default_rng(seed)
    said = generator.normal(-1.0, 1.2, count)
    true = 1 / (1 + np.exp(-(intercept + slope * said)))
    return 1 / (1 + np.exp(-said)), generator.random(count) < true


@settings(max_examples=60, deadline=None)
@given(
    score=arrays.arrays(np.float64, 40, elements=st.sampled_from([0.1, 0.2, 0.35, 0.5, 0.8])),
    outcome=arrays.arrays(np.bool_, 40),
    weights=arrays.arrays(np.float64, 40, elements=st.sampled_from([0.0, 1.0, 2.0])),
)
def test_ranking_figures_equal_scikit_learns_with_ties_and_weights(score, outcome, weights):
    with_event, without = (weights * outcome).sum(), (weights * ~outcome).sum()
    had = outcome.astype(float)
    ours_auroc = metrics.auroc(had, score)(weights[None])[0]
    ours_precision = metrics.average_precision(had, score)(weights[None])[0]
    if with_event == 0 or without == 0:
        assert np.isnan(ours_auroc)
        return
    assert ours_auroc == pytest.approx(roc_auc_score(outcome, score, sample_weight=weights))
    assert ours_precision == pytest.approx(
        average_precision_score(outcome, score, sample_weight=weights)
    )


def test_recalibration_and_brier_equal_scikit_learns():
    probability, outcome = simulated(1500, 3, slope=0.6, intercept=0.4)
    figures = risk_figures(probability, outcome, one_each(1500))
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        metrics.logit(probability)[:, None], outcome
    )
    assert figures.slope.value == pytest.approx(fitted.coef_[0, 0], abs=1e-5)
    assert figures.intercept.value == pytest.approx(fitted.intercept_[0], abs=1e-5)
    assert figures.brier.value == pytest.approx(brier_score_loss(outcome, probability))


def test_calibration_error_equals_netcals_on_bins_of_equal_mass():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from netcal.metrics import ECE
    probability, outcome = simulated(3000, 5, slope=0.5)
    ours = metrics.expected_calibration_error(outcome.astype(float), probability, bins=10)
    theirs = ECE(bins=10, equal_intervals=False).measure(probability, outcome.astype(int))
    assert ours(np.ones((1, 3000)))[0] == pytest.approx(theirs)


def test_a_calibrated_forecast_is_seen_as_calibrated_and_an_overconfident_one_is_not():
    calibrated = risk_figures(*simulated(4000, 1), one_each(4000))
    overconfident = risk_figures(*simulated(4000, 1, slope=0.5), one_each(4000))
    assert calibrated.slope.low < 1 < calibrated.slope.high
    assert overconfident.slope.high < 0.7
    assert overconfident.ece.low > calibrated.ece.value
    too_high = risk_figures(*simulated(4000, 1, intercept=-1.0), one_each(4000))
    assert too_high.in_the_large.high < -0.8


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = {"slope": 0, "intercept": 0, "auroc": 0, "prevalence": 0}
    probability, outcome = simulated(200_000, 99, slope=0.8, intercept=-0.2)
    truth = {
        "slope": 0.8,
        "intercept": -0.2,
        "auroc": roc_auc_score(outcome, probability),
        "prevalence": outcome.mean(),
    }
    rounds = 150
    for number in range(rounds):
        drawn = simulated(400, 1000 + number, slope=0.8, intercept=-0.2)
        figures = risk_figures(*drawn, one_each(400, seed=number))
        for name, value in truth.items():
            figure = getattr(figures, name)
            held[name] += figure.low <= value <= figure.high
    # 95 % of 150 is 142.5; 134 is more than three standard deviations below.
    assert all(count >= 134 for count in held.values()), held


def test_rows_of_one_patient_widen_the_interval():
    generator = np.random.default_rng(0)
    of_patient = np.repeat(generator.normal(size=50), 20)
    single = estimate(mean_of(of_patient), one_each(1000))
    grouped = estimate(
        mean_of(of_patient), Sampling(patients=np.repeat(np.arange(50), 20), resamples=200)
    )
    assert grouped.high - grouped.low > 3 * (single.high - single.low)
    assert (grouped.n, grouped.patients) == (1000, 50)
    hits = of_patient > 0
    alone = proportion(hits, one_each(1000))
    together = proportion(hits, Sampling(patients=np.repeat(np.arange(50), 20)))
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_a_share_of_one_counts_each_patient_once():
    hits = np.ones(100, dtype=bool)
    figure = proportion(hits, Sampling(patients=np.repeat(np.arange(10), 10)))
    assert (figure.low, figure.high) == pytest.approx(wilson(1.0, 10))
    assert figure.low < 0.75


def test_under_twenty_events_there_is_no_number():
    probability = np.linspace(0.01, 0.99, 200)
    outcome = np.arange(200) >= 181
    figures = risk_figures(probability, outcome, one_each(200))
    for name in ("auroc", "auprc", "brier", "slope", "intercept", "in_the_large", "ece"):
        figure = getattr(figures, name)
        assert figure.value is None
        assert figure.why_not == "only 19 events"
        assert figure.n == 200
    assert figures.curve == ()
    few_without = risk_figures(probability, ~outcome, one_each(200))
    assert few_without.auroc.why_not == "only 19 without the event"
    nobody = risk_figures(np.array([]), np.array([], dtype=bool), one_each(0))
    assert nobody.prevalence.why_not == "no known outcome"


def test_the_same_seed_gives_the_same_interval_and_the_block_size_does_not_matter(monkeypatch):
    drawn = simulated(300, 2)
    first = risk_figures(*drawn, one_each(300, seed=4))
    monkeypatch.setattr("pipelines.evaluation.figures._MAX_CELLS", 3000)
    again = risk_figures(*drawn, one_each(300, seed=4))
    other = risk_figures(*drawn, one_each(300, seed=5))
    for name in ("auroc", "slope", "ece"):
        figure, same = getattr(first, name), getattr(again, name)
        assert (figure.low, figure.high) == pytest.approx((same.low, same.high), abs=1e-12)
    assert other.auroc.low != first.auroc.low


def test_a_score_that_separates_perfectly_has_no_finite_slope():
    probability = np.concatenate([np.linspace(0.1, 0.3, 50), np.linspace(0.7, 0.9, 50)])
    figures = risk_figures(probability, np.arange(100) >= 50, one_each(100))
    assert figures.auroc.value == 1.0
    assert figures.slope.value is None
    assert figures.slope.why_not


def test_the_reliability_curve_covers_every_row_once_and_rises_with_the_truth():
    probability, outcome = simulated(2000, 7)
    curve = metrics.reliability_curve(probability, outcome, one_each(2000))
    assert len(curve) == 10
    assert sum(point.observed.n for point in curve) == 2000
    assert all(abs(p.mean_predicted - p.observed.value) < 0.12 for p in curve)
