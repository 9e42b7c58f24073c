"""Bands are judged by how often they hold the measured value, how wide they are, and against persistence."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import mean_absolute_error, mean_pinball_loss

from pipelines.evaluation.figures import Sampling
from pipelines.evaluation.quantities import (
    pinball,
    quantity_figures,
    weighted_interval_score,
)


def bands_of(centre, spread, levels):
    reach = {level: norm.ppf(0.5 + level / 2) * spread for level in levels}
    return {level: (centre - half, centre + half) for level, half in reach.items()}


def sampling(count: int) -> Sampling:
    return Sampling(patients=np.arange(count), resamples=200)


def test_honest_bands_cover_what_they_say_and_narrow_ones_less():
    generator = np.random.default_rng(0)
    centre = generator.normal(5, 2, 2000)
    measured = centre + generator.normal(0, 1, 2000)
    nothing = np.full(2000, np.nan)
    honest = quantity_figures(
        centre, bands_of(centre, 1.0, (0.5, 0.9)), measured, nothing, sampling(2000)
    )
    narrow = quantity_figures(
        centre, bands_of(centre, 0.5, (0.9,)), measured, nothing, sampling(2000)
    )
    for level, figure in honest.coverage.items():
        assert figure.low < level < figure.high
    assert narrow.coverage[0.9].high < 0.7
    assert honest.width[0.9].value == pytest.approx(2 * norm.ppf(0.95))
    assert honest.mae.value == pytest.approx(mean_absolute_error(measured, centre))


def test_pinball_loss_equals_scikit_learns():
    generator = np.random.default_rng(1)
    said, measured = generator.normal(size=(2, 100))
    for level in (0.05, 0.5, 0.8):
        ours = pinball(said, level, measured).mean()
        assert ours == pytest.approx(mean_pinball_loss(measured, said, alpha=level))


def test_with_many_bands_the_interval_score_is_the_known_crps_of_a_normal():
    generator = np.random.default_rng(2)
    centre = np.zeros(500)
    measured = generator.normal(0, 1.5, 500)
    levels = np.linspace(0.005, 0.995, 199)
    ours = weighted_interval_score(centre, bands_of(centre, 1.0, levels), measured)
    # Closed form of the CRPS of N(0, 1) (Gneiting & Raftery 2007, section 4.2).
    exact = measured * (2 * norm.cdf(measured) - 1) + 2 * norm.pdf(measured) - 1 / np.sqrt(np.pi)
    assert ours == pytest.approx(exact, abs=0.02)


def test_skill_is_over_the_last_known_value_and_only_where_there_is_one():
    generator = np.random.default_rng(3)
    centre = generator.normal(0, 3, 400)
    measured = centre + generator.normal(0, 1, 400)
    last = centre + generator.normal(0, 3, 400)
    last[:100] = np.nan
    figures = quantity_figures(
        centre, {0.9: (centre - 2, centre + 2)}, measured, last, sampling(400)
    )
    expected = 1 - np.abs(measured - centre)[100:].mean() / np.abs(measured - last)[100:].mean()
    assert figures.skill.value == pytest.approx(expected)
    assert figures.skill.n == 300
    assert figures.skill.low > 0.4


def test_under_twenty_values_there_is_no_number():
    few = np.arange(19.0)
    figures = quantity_figures(few, {0.9: (few, few)}, few, few, sampling(19))
    assert figures.mae.why_not == "only 19 values"
    assert figures.coverage[0.9].value is None
    enough = np.arange(30.0)
    last = np.where(enough < 19, enough, np.nan)
    assert (
        quantity_figures(enough, {0.9: (enough, enough)}, enough, last, sampling(30)).skill.why_not
        == "only 19 values with an earlier one"
    )
