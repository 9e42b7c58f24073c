"""Calibration of a model that counts hours: windows of six hours, asked of stays of two days."""

import math
import random
from dataclasses import replace

import pytest
import torch

from clinical.timeline.event import EventKind
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.config import AbstentionLimits
from clinical.worldmodel.fitting import FitConfig, fit
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.tensorize import Tensorizer, day_of
from pipelines.training.asking import Asked, ValueAnswer, put_questions
from pipelines.training.calibrate import fit_calibration
from pipelines.training.dataset import Case, case_of
from pipelines.training.evaluate import coverage_by_group, value_figures
from pipelines.training.lessons import CaseLessons
from pipelines.training.recipes import recipe
from tests.clinical.worldmodel.conftest import SMALL, convert
from tests.clinical.worldmodel.patients import (
    GLUCOSE,
    PRESSURE,
    START,
    amount,
    fact,
    patient_id,
)

HOUR = 1 / 24
HOURS = replace(
    SMALL,
    clock_days=HOUR,
    windows_days=((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)),
)
LABELS = {"0-6 h", "6-12 h", "12-18 h", "18-24 h"}


def stay(number: int) -> Timeline:
    """Pressure every hour and glucose every four, over two days."""
    luck = random.Random(number)
    events, pressure = [], luck.gauss(120, 15)
    for hour in range(48):
        pressure += luck.gauss(0, 3)
        measured = [(PRESSURE, amount(f"{pressure:.0f}", "mm[Hg]"))]
        if hour % 4 == 0:
            measured.append((GLUCOSE, amount(f"{luck.gauss(110, 20):.0f}", "mg/dL")))
        events += [
            fact(number, f"{code.value}/{hour}", hour * HOUR, EventKind.OBSERVATION, code, value=v)
            for code, v in measured
        ]
    return Timeline.of(patient_id(number), events)


@pytest.fixture(scope="module")
def tensorizer() -> Tensorizer:
    config = FitConfig(min_own_bins=400, min_forecast_values=50, num_buckets=SMALL.num_buckets)
    return Tensorizer(fit([stay(n) for n in range(20)], convert, config=config), HOUR)


@pytest.fixture(scope="module")
def asked(tensorizer: Tensorizer) -> list[Asked]:
    model = Jepa(HOURS, tensorizer.vocabulary)
    initialise(model, torch.Generator().manual_seed(1))
    cases = [case for n in range(30) if (case := case_of(stay(n), tensorizer)) is not None]
    return put_questions(model.eval(), tensorizer, cases, per_patient=2, seed=0, days_of=first_day)


def first_day(case: Case) -> list[float]:
    """The end of every sixth hour of the first day."""
    return [day_of(START) + hour * HOUR for hour in (6, 12, 18, 23)]


def test_every_window_of_hours_is_calibrated_under_its_own_label(
    asked: list[Asked], tensorizer: Tensorizer
):
    limits = AbstentionLimits(min_patients=20)
    fitted = fit_calibration(asked, asked, tensorizer.vocabulary, limits, "t")
    expected = {f"{key}|{label}" for key in (PRESSURE.key, GLUCOSE.key) for label in LABELS}
    assert set(fitted.quantities) == expected
    assert not fitted.probabilities  # nobody died and nobody was admitted: nothing to calibrate on
    assert {label for _, label in asked[0].risks} == {*LABELS, "0-1 d"}
    for label in LABELS:
        figures = value_figures(asked, tensorizer.vocabulary, fitted, label)
        assert figures is not None
        assert figures.coverage_90 is not None
        assert figures.coverage_90 > 0.85


def test_questions_are_put_at_the_moments_that_were_given(asked: list[Asked]):
    assert len(asked) == 60
    # Two days on record: every window of a question within the first day held a pressure.
    assert all({label for code, label in a.values if code == PRESSURE.key} == LABELS for a in asked)


def test_the_coverage_of_each_group_is_counted_apart(asked: list[Asked], tensorizer: Tensorizer):
    limits = AbstentionLimits(min_patients=20)
    fitted = fit_calibration(asked, asked, tensorizer.vocabulary, limits, "t")
    far = {key: replace(value, measured=1e9) for key, value in asked[0].values.items()}
    old, young = replace(asked[0], patient=1, age_years=80.0, is_female=True, values=far), asked[1]
    young = replace(young, patient=2, age_years=17.9, is_female=False, values=_median(young))
    nameless = replace(young, patient=3, age_years=math.nan)
    found = {g.group: g for g in coverage_by_group([old, young, nameless], fitted, "0-6 h")}
    assert set(found) == {"female", "not female", "80 and over", "under 18"}
    assert found["female"].coverage_90 == found["80 and over"].coverage_90 == 0
    assert found["not female"].coverage_90 == found["under 18"].coverage_90 == 1
    assert found["not female"].num_patients == 2
    assert found["under 18"].num_patients == 1
    assert found["female"].num_values == sum(label == "0-6 h" for _, label in far)


def _median(asked: Asked) -> dict[tuple[str, str], ValueAnswer]:
    return {key: replace(v, measured=v.quantiles[2]) for key, v in asked.values.items()}


def test_windows_are_drawn_in_whole_hours_of_the_trained_day(tensorizer: Tensorizer):
    cases = [case for n in range(20) if (case := case_of(stay(n), tensorizer)) is not None]
    chosen = replace(recipe("cpu-small"), model=HOURS, patients_per_step=20)
    lesson = CaseLessons(chosen, cases, tensorizer)(torch.Generator().manual_seed(0))
    drawn = lesson.bounds[:, -1] / HOUR
    torch.testing.assert_close(drawn, drawn.round(), atol=1e-4, rtol=0.0)
    lengths = drawn[:, 1] - drawn[:, 0]
    assert drawn.min() >= 0
    assert drawn.max() <= 25
    assert len(set(lengths.round().tolist())) > 5
