"""The protocol on constructed cases, and the whole bench on a tiny size: kept, resumed, recorded."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.randomness import initialise
from pipelines.evaluation.tumour import baselines, bench, experiment, planning, records
from pipelines.evaluation.tumour.bench import Choice
from pipelines.evaluation.tumour.counterfactuals import (
    LONGEST,
    Asked,
    Generator,
    Question,
    Trial,
    draw_test,
)
from pipelines.evaluation.tumour.experiment import Experiment, Size
from pipelines.evaluation.tumour.learner import Forecaster, begun_later, recipe
from pipelines.evaluation.tumour.parts import Parts
from pipelines.evaluation.tumour.picture import picture
from pipelines.evaluation.tumour.scores import Errors, estimates
from pipelines.evaluation.tumour.simulator import (
    LETHAL_CM3,
    Courses,
    draw_luck,
    draw_patients,
    factual,
)

TINY = Size(
    num_patients=60,
    num_test_patients=12,
    num_days=14,
    share_of_days=0.5,
    num_steps=2,
    tree_rows=300,
    num_planned=3,
)


def learned_from(num: int = 60) -> Courses:
    generator = np.random.default_rng(0)
    return factual(draw_patients(num, generator), draw_luck(num, 14, generator), 0.0)


def trial_of(question: Question, num: int = 12) -> Trial:
    generator = np.random.default_rng(1)
    patients = draw_patients(num, generator)
    return draw_test(patients, question, 0.0, generator, Generator.CORRECTED, 14)


def untrained() -> Forecaster:
    vocabulary = records.vocabulary_of(learned_from())
    model = Jepa(recipe(0).model, vocabulary)
    initialise(model, torch.Generator().manual_seed(0))
    return Forecaster(model, vocabulary)


def test_the_error_is_that_of_the_field() -> None:
    asked = Asked(
        np.array([0, 0, 1]),
        np.zeros(3, dtype=np.int64),
        np.zeros((3, 1), dtype=np.bool_),
        np.zeros((3, 1), dtype=np.bool_),
        np.array([[0.0], [0.0], [0.0]]),
    )
    answers = np.array([[3.0], [4.0], [12.0]])
    errors = Errors.of(answers, asked, 2)
    assert errors.rmse()[0] == pytest.approx(100 * np.sqrt(169 / 3) / LETHAL_CM3)
    drawn = errors.rmse(np.array([[1.0, 0.0]]))
    assert drawn[0, 0] == pytest.approx(100 * np.sqrt(25 / 2) / LETHAL_CM3)


def test_differences_are_paired() -> None:
    generator = np.random.default_rng(0)
    squared = generator.exponential(size=(50, 1))
    count = np.full(50, 3)
    found = estimates(
        {"a": [Errors(squared, count)] * 2, "b": [Errors(1.21 * squared, count)] * 2}, 0
    )
    gap = found["b - a"]
    assert gap.value == pytest.approx(0.1 * found["a"].value)
    # Far narrower than either, for the same patients are drawn for both.
    assert gap.high - gap.low < 0.2 * (found["a"].high - found["a"].low)


def test_the_floor_errs_by_the_noise_alone_and_persistence_by_the_change() -> None:
    trial = trial_of(Question.ONE_STEP, 40)
    now = trial.courses.volume[trial.asked.patient, trial.asked.day]
    noise = (baselines.floor(trial) - trial.asked.truth)[:, 0] / now
    assert np.abs(noise).max() < 0.06
    assert (baselines.persistence(trial)[:, 0] == now).all()


def test_the_filter_finds_what_was_told_it() -> None:
    patients = draw_patients(300, np.random.default_rng(2))
    trial = trial_of(Question.ONE_STEP, 40)
    told = baselines.Filter.of(patients)
    late = trial.asked.day > 5

    def error(answers: np.ndarray) -> float:
        gap = (answers - trial.asked.truth)[late, 0]
        return float(np.sqrt((gap**2).mean()))

    assert error(told.answers(trial)) < 0.4 * error(baselines.persistence(trial))
    first = told.posterior(trial.courses, trial.concentration)[:, 0]
    np.testing.assert_allclose(first, np.tile(told.mean, (len(first), 1)))


def test_features_see_nothing_after_the_day() -> None:
    trial = trial_of(Question.ONE_STEP)
    patient, day = trial.asked.patient, trial.asked.day
    known = baselines.features(trial.courses, patient, day)
    for row in (0, 17):
        changed = trial.courses.of(np.arange(len(trial.courses)))
        changed.volume[patient[row], day[row] + 1 :] += 7
        changed.chemo[patient[row], day[row] :] ^= True
        again = baselines.features(changed, patient[row : row + 1], day[row : row + 1])
        np.testing.assert_allclose(again[0], known[row])


def test_a_record_begun_later_is_the_same_life() -> None:
    courses = learned_from()
    late = begun_later(courses)
    rows = np.nonzero(courses.last > 1)[0]
    assert (late.volume[:, :-1] == courses.volume[rows, 1:]).all()
    assert (late.last == courses.last[rows] - 1).all()
    assert not courses.chemo[:, 0].any()  # so that nothing given before is forgotten


def test_forecasts_know_nothing_after_the_question_and_heed_the_plan() -> None:
    forecaster, trial = untrained(), trial_of(Question.SLIDING)
    some = trial.asked.of(np.arange(0, len(trial.asked), 37))
    answers = forecaster.answers(trial.courses, some)
    later = trial.courses.of(np.arange(len(trial.courses)))
    days = np.arange(later.volume.shape[1])
    first_day = np.full(len(later), 99)
    np.minimum.at(first_day, some.patient, some.day)
    only = some.of(some.day == first_day[some.patient])
    expected = forecaster.answers(trial.courses, only)
    later.volume[days > first_day[:, None]] *= 0.5
    np.testing.assert_array_equal(forecaster.answers(later, only), expected)
    # A day is not told by what is planned after it.
    chemo = some.chemo.copy()
    chemo[:, 3:] ^= True
    other = forecaster.answers(
        trial.courses, Asked(some.patient, some.day, chemo, some.radio, some.truth)
    )
    np.testing.assert_allclose(other[:, :3], answers[:, :3], rtol=1e-5, atol=1e-3)
    assert not np.allclose(other[:, 3:], answers[:, 3:], rtol=1e-6)


def test_the_oracle_is_never_beaten() -> None:
    trial = trial_of(Question.SLIDING)
    rows = np.nonzero(trial.courses.volume[trial.asked.patient, trial.asked.day] > 1)[0][:3]
    judged = planning.judge(untrained(), trial, rows)
    for other in (judged.model, judged.never, judged.always):
        assert (judged.oracle <= other + 1e-12).all()


def test_costs_are_worked_out_by_hand() -> None:
    plans = np.array([planning.NEVER, planning.ALWAYS])
    volumes = np.full((2, LONGEST), 50.0)
    costs = planning.cost_of(volumes, np.array([100.0, 100.0]), plans)
    assert costs == pytest.approx([0.5, 0.5 + 12 * planning.BURDEN])


def test_both_arms_start_alike_and_differ_in_the_weight_alone(tmp_path: Path) -> None:
    one = Experiment(0.0, 1, TINY, Parts(tmp_path, ""), lambda _: None)
    ours, other = (one.recipe(arm) for arm in experiment.ARMS)
    assert (ours.loss.latent, other.loss.latent) == (1.0, 0.0)
    assert ours.model == other.model
    assert (ours.seed, ours.num_steps) == (other.seed, other.num_steps)


def test_the_bench_keeps_what_it_finished_and_makes_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "NUM_TREES", 3)
    choice = Choice(gammas=(2.0,), seeds=(1, 2), size=TINY, folder=tmp_path)
    said: list[str] = []
    rows = {row.id: row for row in bench.run(choice, say=said.append)}
    assert said
    wanted = ("corrected.one_step", "corrected.tau6", "reference.one_step", "reference.tau6")
    assert {f"tumour.{name}.g2" for name in (*wanted, "latent.tau2", "plan.regret")} <= set(rows)
    assert rows["tumour.corrected.one_step.g2"].seeds == (1, 2)
    assert {"persistence", "trees", "filter", "floor"} <= set(
        rows["tumour.corrected.tau6.g2"].baselines
    )
    assert picture(list(rows.values())).startswith("<svg")
    said.clear()
    again = {row.id: row for row in bench.run(choice, say=said.append)}
    assert not said  # nothing was computed anew
    assert {i: r.value for i, r in again.items()} == {i: r.value for i, r in rows.items()}
    more = Choice(gammas=(2.0,), seeds=(1, 3), size=TINY, folder=tmp_path, only_kept=True)
    assert {row.seeds for row in bench.run(more, say=said.append)} == {(1,)}


def test_training_cut_off_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def weights(folder: Path) -> list[torch.Tensor]:
        one = Experiment(0.0, 1, TINY, Parts(folder, ""), lambda _: None)
        return list(one.forecaster("ours").model.parameters())

    first, second = weights(tmp_path / "a"), weights(tmp_path / "b")
    again = weights(tmp_path / "a")  # from the kept weights
    for one, two, three in zip(first, second, again, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)
