"""How usual actions are: recovered where it was planted, calibrated, unknown where too few tell."""

import math
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
import torch

from clinical.prediction.abstention import AbstentionReason
from clinical.prediction.action import Action
from clinical.prediction.outcome import Risk
from clinical.prediction.plan import PlanChoice, PlanDecision, PlanQuestion
from clinical.prediction.prediction import ModelFingerprint
from clinical.timeline.event import EventKind
from clinical.worldmodel.behaviour import probe_name, support_window
from clinical.worldmodel.calibrated import UNCALIBRATED
from clinical.worldmodel.config import AbstentionLimits
from clinical.worldmodel.inference import Inference
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.planning import Planner
from clinical.worldmodel.probe import Probe, Probes
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training import behaviour
from pipelines.training.behaviour import Observed, fit_behaviour, folded, observe
from pipelines.training.calibrate import platt_of
from pipelines.training.dataset import Case, case_of, moment_of
from pipelines.training.lessons import CaseLessons
from pipelines.training.recipes import Recipe
from pipelines.training.train import train
from tests.clinical.worldmodel.patients import INHALER, LATER, METFORMIN, living, made_up

LIMITS = AbstentionLimits()


@pytest.fixture(scope="module")
def trained(tiny: Recipe, cases: list[Case], tensorizer: Tensorizer) -> Jepa:
    return train(tiny, CaseLessons(tiny, cases, tensorizer), tensorizer.vocabulary)


def others(tensorizer: Tensorizer, numbers: Sequence[int]) -> list[Case]:
    made = (case_of(made_up(number), tensorizer) for number in numbers)
    return [case for case in made if case is not None]


def _planted(num_patients: int, seed: int) -> Observed:
    """Whoever's first number is high is treated: log odds are twice it, less one."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(num_patients * 3, 4, generator=generator)
    chance = torch.sigmoid(2 * states[:, 0] - 1)
    done = torch.rand(len(states), generator=generator) < chance
    patients = tuple(n // 3 for n in range(len(states)))
    return Observed(patients, states, done[:, None])


def test_what_was_planted_is_found_and_calibration_makes_it_mean_what_it_says() -> None:
    """The regression is held back by its penalty; calibration on others restores the scale."""
    raw = behaviour._fit(_planted(800, 1), 0, "a|1|0-90 d", LIMITS)
    assert raw is not None
    held_out = _planted(800, 2)
    platt = platt_of(behaviour._rows(raw, held_out, 0), LIMITS, "test")
    assert platt is not None
    fresh = _planted(2000, 3)
    truth = torch.sigmoid(2 * fresh.states[:, 0] - 1).double()
    said = torch.sigmoid(folded(raw, platt).log_odds(fresh.states).double())
    assert (said - truth).abs().mean() < 0.03
    logits = raw.log_odds(fresh.states).tolist()
    assert said.tolist() == pytest.approx([platt.probability(logit) for logit in logits], abs=1e-5)


def test_an_action_of_which_too_few_patients_tell_gets_no_probe() -> None:
    few = _planted(100, 1)
    rare = Observed(few.patient, few.states, few.done & (torch.arange(300) < 15)[:, None])
    assert behaviour._fit(rare, 0, "x", LIMITS) is None
    assert behaviour._fit(Observed(few.patient, few.states, ~rare.done), 0, "x", LIMITS) is None


def test_every_patient_weighs_one() -> None:
    seen = Observed((0, 0, 0, 1), torch.zeros(4, 2), torch.zeros(4, 1, dtype=torch.bool))
    assert seen.weights.tolist() == pytest.approx([1 / 3] * 3 + [1.0])


def test_what_was_done_is_read_from_the_record_and_only_where_it_goes_on(
    trained: Jepa, tensorizer: Tensorizer, cases: list[Case]
) -> None:
    """Against a plain reading of the events."""
    seen = observe(trained, tensorizer, cases[:6], seed=0)
    end = support_window(trained.config).end
    assert end is not None
    expected = 0
    for case in cases[:6]:
        days = [d for d in case.asked_days if d + end / timedelta(days=1) <= case.followed_until]
        assert len(days) <= behaviour._PER_PATIENT
        for day in days:
            asked = moment_of(day)
            expected += any(
                asked < known.at <= asked + end and known.event.code == METFORMIN
                for known in case.timeline.standing
            )
    place = tensorizer.vocabulary.actions.index(METFORMIN.key)
    assert int(seen.done[:, place].sum()) == expected > 0
    assert seen.states.shape == (len(seen.patient), trained.config.width)


def test_a_tiny_trained_model_says_how_usual_its_actions_are_and_compares_plans(
    trained: Jepa, tensorizer: Tensorizer, cases: list[Case]
) -> None:
    """From training to a comparison: the probes are named, calibrated, and asked for by the planner."""
    held_out = others(tensorizer, range(200, 240))
    probes = fit_behaviour(trained, tensorizer, cases, held_out, LIMITS)
    names = {probe.name for probe in probes}
    assert names == {probe_name(code.key, trained.config) for code in (METFORMIN, INHALER)}
    assert fit_behaviour(trained, tensorizer, cases, held_out, LIMITS) == probes
    fresh = observe(trained, tensorizer, others(tensorizer, range(300, 340)), seed=3)
    for probe in probes:
        place = tensorizer.vocabulary.actions.index(probe.name.rsplit("|", 1)[0])
        said = torch.sigmoid(probe.log_odds(fresh.states).double())
        weights = fresh.weights / fresh.weights.sum()
        observed = float((fresh.done[:, place] * weights).sum())
        assert float((said * weights).sum()) == pytest.approx(observed, abs=0.1)
    model = _loaded(trained, tensorizer, Probes(behaviour=probes))
    assert Planner(inference=model).plannable([METFORMIN.key, INHALER.key]) == (True, True)
    assert _reason(model) is AbstentionReason.NOT_CALIBRATED  # how usual they are it knows
    ignorant = _loaded(trained, tensorizer, Probes())
    assert _reason(ignorant) is AbstentionReason.SUPPORT_UNKNOWN


def _loaded(model: Jepa, tensorizer: Tensorizer, probes: Probes) -> Inference:
    return Inference(
        model=model.eval(),
        tensorizer=tensorizer,
        calibration=UNCALIBRATED,
        limits=AbstentionLimits(max_unseen_code_share=0.9),
        fingerprint=ModelFingerprint(
            name="tiny", version="1", manifest_digest="0" * 64, vocabulary_digest="0" * 64
        ),
        device="cpu",
        code_version="test",
        probes=probes,
    )


def _reason(model: Inference) -> AbstentionReason | None:
    timeline = living(range(30))[0]
    action = Action(kind=EventKind.MEDICATION_REQUEST, code=METFORMIN, after=timedelta(days=1))
    choice = PlanChoice(name="metformin", label="Metformin", actions=(action,))
    question = PlanQuestion(
        comparison_id=UUID(int=1),
        patient_id=timeline.patient_id,
        as_of=timeline.known_until,
        received_by=LATER,
        decisions=(PlanDecision(name="glycaemia", label="Glycaemia", choices=(choice,)),),
        risks=(Risk.INPATIENT,),
    )
    abstention = Planner(inference=model).compare(question, timeline).abstention
    return None if abstention is None else abstention.reason


def test_too_few_patients_set_aside_leave_everything_unknown(
    trained: Jepa, tensorizer: Tensorizer, cases: list[Case]
) -> None:
    assert fit_behaviour(trained, tensorizer, cases, cases[:3], LIMITS) == ()


def test_folding_keeps_the_name_and_the_standardisation() -> None:
    probe = Probe(name="x", mean=(1.0,), scale=(2.0,), weights=(3.0,), bias=0.5)
    platt = platt_of(
        [(n, math.copysign(1, n % 2 - 0.5), n % 2 == 1) for n in range(40)], LIMITS, "x"
    )
    assert platt is not None
    made = folded(probe, platt)
    assert (made.name, made.mean, made.scale) == (probe.name, probe.mean, probe.scale)
    assert made.bias == pytest.approx(platt.slope * 0.5 + platt.intercept)
