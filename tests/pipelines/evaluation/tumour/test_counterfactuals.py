"""Both generators: what is asked, what is true of it, and the published fault, in its place only."""

import numpy as np
import pytest

from pipelines.evaluation.tumour.counterfactuals import (
    LONGEST,
    Generator,
    Question,
    Trial,
    draw_test,
)
from pipelines.evaluation.tumour.simulator import (
    LETHAL_CM3,
    Patients,
    diameter_of,
    draw_luck,
    draw_patients,
    factual,
    grown,
    next_concentration,
)

DAYS = 12


def drawn(question: Question, gamma: float, kind: Generator, num: int = 30, seed: int = 3) -> Trial:
    generator = np.random.default_rng(seed)
    return draw_test(draw_patients(num, generator), question, gamma, generator, kind, DAYS)


def test_one_step_asks_all_four_treatments_of_every_day() -> None:
    test = drawn(Question.ONE_STEP, 2.0, Generator.CORRECTED)
    asked = test.asked
    assert len(asked) == 4 * test.courses.last.sum()
    options = {
        (bool(c), bool(r)) for c, r in zip(asked.chemo[:4, 0], asked.radio[:4, 0], strict=True)
    }
    assert len(options) == 4
    given = (asked.chemo[:, 0] == test.courses.chemo[asked.patient, asked.day]) & (
        asked.radio[:, 0] == test.courses.radio[asked.patient, asked.day]
    )
    assert given.sum() == len(asked) / 4
    really = test.courses.volume[asked.patient, asked.day + 1][given]
    assert asked.truth[given, 0] == pytest.approx(really)


def test_sliding_moves_one_treatment_over_the_days_after_the_one_given() -> None:
    test = drawn(Question.SLIDING, 2.0, Generator.CORRECTED)
    asked = test.asked
    assert asked.chemo.shape[1] == LONGEST
    assert (asked.chemo[:, 0] == test.courses.chemo[asked.patient, asked.day]).all()
    assert (asked.chemo[:, 1:].sum(1) + asked.radio[:, 1:].sum(1) == 1).all()
    # The first of the two steps is what really happened: it is two days from the last volume seen.
    really = test.courses.volume[asked.patient, asked.day + 1]
    assert asked.truth[:, 0] == pytest.approx(really)


def test_the_truth_follows_the_plan_step_by_step() -> None:
    test = drawn(Question.SLIDING, 0.0, Generator.CORRECTED, num=5)
    asked, row = test.asked, 7
    who: Patients = test.patients.of(asked.patient[row : row + 1])
    day = int(asked.day[row])
    held = test.concentration[asked.patient[row], day : day + 1]
    volume = asked.truth[row, :1]
    held = next_concentration(held, asked.chemo[row, 1:2])
    expected = grown(who, volume, held, asked.radio[row, 1:2], np.zeros(1))
    assert asked.truth[row, 1] == pytest.approx(expected[0], rel=0.06)  # noise of one percent


def test_both_generators_agree_where_size_does_not_matter() -> None:
    one = drawn(Question.ONE_STEP, 0.0, Generator.CORRECTED)
    other = drawn(Question.ONE_STEP, 0.0, Generator.REFERENCE)
    assert (one.courses.volume == other.courses.volume).all()
    assert (one.asked.truth == other.asked.truth).all()


def test_the_corrected_doctor_treats_large_tumours_and_the_reference_one_does_not() -> None:
    def link(kind: Generator) -> float:
        test = drawn(Question.ONE_STEP, 10.0, kind, num=400)
        days = np.arange(DAYS)
        on_record = days < test.courses.last[:, None]
        size = diameter_of(test.courses.volume)[on_record]
        return float(np.corrcoef(size, test.courses.radio[on_record])[0, 1])

    assert link(Generator.CORRECTED) > 0.5
    assert abs(link(Generator.REFERENCE)) < 0.15


def test_the_reference_policy_reads_the_row_that_has_the_patients_number() -> None:
    test = drawn(Question.ONE_STEP, 1000.0, Generator.REFERENCE, num=40)
    # With gamma so large that chance plays no part, the row decides: row 5 is the second question
    # of day 1 of the first patient, with volumes up to day 2 and nothing after.
    row = np.zeros(DAYS)
    row[:2] = test.courses.volume[0, :2]
    row[2] = test.asked.truth[5, 0]
    for day in range(int(test.courses.last[5])):
        mean = diameter_of(row[max(day - 15, 0) : day + 1]).mean()
        assert test.courses.radio[5, day] == (mean > 6.5)


def test_learning_data_know_nothing_of_the_generators() -> None:
    generator = np.random.default_rng(1)
    course = factual(draw_patients(50, generator), draw_luck(50, DAYS, generator), 4.0)
    assert not course.chemo[:, 0].any()
    assert course.volume.max() <= LETHAL_CM3
