"""Calibration: fitted on patients, each counting once, and silent where there are too few."""

import math

import pytest
import torch

from clinical.worldmodel.config import AbstentionLimits
from pipelines.training.asking import Asked, RiskAnswer
from pipelines.training.calibrate import conformal_offset, fit_familiarity, fit_platt

LIMITS = AbstentionLimits()
KEY = ("Death", "0-365 d")


def asked(
    patient: int, log_odds: float = 0.0, happened: bool | None = None, state: tuple[float, ...] = ()
) -> Asked:
    return Asked(
        patient=patient,
        age_years=50,
        is_female=True,
        state=state,
        spread=(),
        risks={KEY: RiskAnswer(log_odds, happened)},
        values={},
    )


def drawn(num: int, slope: float, intercept: float) -> list[Asked]:
    generator = torch.Generator().manual_seed(0)
    odds = torch.randn(num, generator=generator) * 2
    luck = torch.rand(num, generator=generator)
    had = luck < torch.sigmoid(slope * odds + intercept)
    return [asked(n, float(odds[n]), bool(had[n])) for n in range(num)]


def test_platt_finds_the_slope_and_intercept_that_made_the_outcomes():
    fitted = fit_platt(drawn(4000, 0.5, -1.0), KEY, LIMITS, "t")
    assert fitted is not None
    assert fitted.slope == pytest.approx(0.5, abs=0.06)
    assert fitted.intercept == pytest.approx(-1.0, abs=0.1)
    assert fitted.num_patients == 4000
    for each in fitted.reliability:
        assert each.observed == pytest.approx(each.mean_predicted, abs=0.06)


def test_a_patient_asked_often_counts_once():
    rows = drawn(400, 1.0, 0.0)
    often = rows + [rows[0]] * 500
    once, repeated = (fit_platt(each, KEY, LIMITS, "t") for each in (rows, often))
    assert once is not None
    assert repeated is not None
    assert repeated.slope == pytest.approx(once.slope, abs=1e-6)
    assert repeated.num_patients == once.num_patients


@pytest.mark.parametrize("num_with", [0, LIMITS.min_outcomes - 1])
def test_with_too_few_outcomes_there_is_no_calibration(num_with: int):
    rows = [asked(n, 0.3, n < num_with) for n in range(100)]
    assert fit_platt(rows, KEY, LIMITS, "t") is None
    others = [asked(n, 0.3, n >= num_with) for n in range(100)]
    assert fit_platt(others, KEY, LIMITS, "t") is None


def test_unknown_outcomes_do_not_count_as_none():
    rows = drawn(200, 1.0, 0.0)
    unknown = [asked(1000 + n, 3.0, None) for n in range(200)]
    assert fit_platt(rows + unknown, KEY, LIMITS, "t") == fit_platt(rows, KEY, LIMITS, "t")


def test_the_conformal_offset_covers_new_patients_as_often_as_it_says():
    generator = torch.Generator().manual_seed(2)
    covered = []
    for _ in range(300):
        scores = torch.randn(40, generator=generator).tolist()
        offset = conformal_offset(scores, range(40), 0.9)
        assert offset is not None
        covered.append(float(torch.randn(1, generator=generator)) <= offset)
    assert 0.86 <= sum(covered) / len(covered) <= 0.97


def test_the_conformal_offset_is_the_order_statistic_of_the_textbook():
    """With one score per patient: the ceil((n + 1) level)-th smallest; none where that is n + 1."""
    scores = [float(n) for n in range(1, 20)]
    assert conformal_offset(scores, range(19), 0.9) == math.ceil(20 * 0.9)
    assert conformal_offset(scores[:8], range(8), 0.9) is None
    assert conformal_offset(scores[:9], range(9), 0.9) == 9.0


def test_familiarity_leaves_out_one_in_a_hundred_of_those_set_aside():
    generator = torch.Generator().manual_seed(3)
    mixing = torch.tensor([[2.0, 0.0], [1.5, 0.1]])

    def people(num: int) -> list[Asked]:
        states = torch.randn(num, 2, generator=generator) @ mixing.T
        return [asked(n, state=tuple(state.tolist())) for n, state in enumerate(states)]

    fitted = fit_familiarity(people(2000), people(2000))
    assert fitted is not None
    fresh = torch.tensor([each.state for each in people(4000)])
    assert float((fitted.distance(fresh) > 1).double().mean()) == pytest.approx(0.01, abs=0.006)
    # Far across the narrow direction is stranger than as far along the wide one.
    along, across = fitted.distance(torch.tensor([[4.0, 3.0], [-3.0, 4.0]])).tolist()
    assert across > along
    assert fit_familiarity([], people(3)) is None
