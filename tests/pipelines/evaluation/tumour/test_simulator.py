"""The published equations, against steps worked out by hand."""

import math

import numpy as np
import pytest

from pipelines.evaluation.tumour.simulator import (
    CAPACITY_CM3,
    LETHAL_CM3,
    Luck,
    Patients,
    diameter_of,
    draw_luck,
    draw_patients,
    factual,
    grown,
    next_concentration,
    treated,
    volume_of,
)


def one(volume: float, alpha: float = 0.04, rho: float = 0.003, beta_c: float = 0.028) -> Patients:
    return Patients(
        np.array([volume]), np.array([alpha]), np.array([rho]), np.array([beta_c]), np.array([1])
    )


def luck_of(num_days: int, *, treat: float, noise: float = 0.0) -> Luck:
    """`treat` 0 always treats, 1 never does."""
    shape = (1, num_days)
    return Luck(np.full(shape, noise), np.ones(shape), np.full(shape, treat), np.full(shape, treat))


def test_a_day_without_treatment_grows_by_gompertz_law() -> None:
    new = grown(one(100.0), np.array([100.0]), np.zeros(1), np.array([False]), np.zeros(1))
    assert new[0] == pytest.approx(100 * (1 + 0.003 * math.log(CAPACITY_CM3 / 100)))


def test_a_day_with_both_treatments_and_noise() -> None:
    new = grown(one(100.0), np.array([100.0]), np.array([7.5]), np.array([True]), np.array([0.01]))
    growth = 0.003 * math.log(CAPACITY_CM3 / 100)
    killed = 0.028 * 7.5 + 0.04 * 2 + 0.004 * 4
    assert new[0] == pytest.approx(100 * (1 + growth - killed + 0.01))


def test_the_drug_halves_in_a_day() -> None:
    held = np.zeros(1)
    for given, expected in ((True, 5.0), (False, 2.5), (True, 6.25)):
        held = next_concentration(held, np.array([given]))
        assert held[0] == expected


def test_spheres() -> None:
    assert round(LETHAL_CM3, 2) == 1150.35
    assert diameter_of(volume_of(np.array([7.0])))[0] == pytest.approx(7.0)
    assert np.isnan(diameter_of(np.array([-1.0])))[0]


def test_without_confounding_a_coin_decides_and_with_it_the_size_does() -> None:
    luck = np.array([0.49, 0.51])
    assert treated(np.array([1.0, 1.0]), luck, 0.0).tolist() == [True, False]
    large, small = treated(np.array([13.0, 13.0]), luck, 4.0), treated(np.zeros(2), luck, 4.0)
    assert large.tolist() == [True, True]
    assert small.tolist() == [False, False]
    at_large = 1 / (1 + math.exp(-4 / 13 * 6.5))
    assert treated(np.array([13.0]), np.array([at_large - 1e-9]), 4.0)[0]
    assert not treated(np.array([13.0]), np.array([at_large + 1e-9]), 4.0)[0]


def test_nobody_is_treated_for_a_diameter_that_is_no_number() -> None:
    assert not treated(np.array([np.nan]), np.zeros(1), 4.0)[0]


def test_courses_are_worked_out_day_by_day() -> None:
    course = factual(one(100.0), luck_of(3, treat=0.0), 0.0)
    assert course.chemo[0].tolist() == [False, True, True]
    growth = 1 + 0.003 * math.log(CAPACITY_CM3 / 100)
    assert course.volume[0, 1] == pytest.approx(100 * growth)
    second = course.volume[0, 1]
    rate = 0.003 * math.log(CAPACITY_CM3 / second) - 0.028 * 5 - 0.096
    assert course.volume[0, 2] == pytest.approx(second * (1 + rate))
    assert course.last[0] == 2
    assert not course.is_capped[0]


def test_a_course_ends_with_the_lethal_volume_or_with_none() -> None:
    dying = factual(one(1149.0, rho=0.05), luck_of(5, treat=1.0), 0.0)
    assert (dying.last[0], dying.volume[0, 1]) == (1, LETHAL_CM3)
    cured = factual(one(100.0, alpha=0.6), luck_of(5, treat=0.0), 0.0)
    assert (cured.last[0], cured.volume[0, 2]) == (2, 0.0)
    assert dying.is_capped[0]
    assert cured.is_capped[0]
    assert not cured.chemo[0, 3:].any()


def test_patients_are_as_published() -> None:
    patients = draw_patients(20_000, np.random.default_rng(0))
    diameter = diameter_of(patients.volume)
    assert diameter.min() >= 0.3
    assert diameter.max() <= 13.0
    assert patients.alpha.min() > 0
    assert patients.rho.min() > 0
    assert set(patients.kind.tolist()) == {1, 2, 3}
    by_type = [patients.beta_c[patients.kind == kind].mean() for kind in (1, 2, 3)]
    assert by_type == pytest.approx([0.028, 0.028, 0.0308], abs=5e-5)
    # What a normal correlated by .87 keeps of it when both parts must be positive.
    assert 0.7 < np.corrcoef(patients.alpha, patients.rho)[0, 1] < 0.87


def test_the_same_seed_gives_the_same_courses() -> None:
    def drawn() -> np.ndarray:
        generator = np.random.default_rng(5)
        return factual(draw_patients(20, generator), draw_luck(20, 30, generator), 2.0).volume

    assert (drawn() == drawn()).all()
