"""The network taught an outcome: it learns a planted one, keeps its objective, and repeats itself."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from adapters.units import conversion
from clinical.worldmodel.fitting import fit
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.icu.cohort import cohort
from pipelines.training.dataset import Case, case_of
from pipelines.training.prognosis import States, fit_prognosis, log_odds, states_of
from pipelines.training.recipes import Recipe, Tuning, recipe
from pipelines.training.setting import Labelled, Setting
from pipelines.training.train import Progress
from pipelines.training.tuning import LateMean, OutcomeLessons, tune
from tests.pipelines.icu.test_cohort import write_challenge

_NUM_STAYS = 28


class Ward:
    """Stays whose fast hearts die: the heart rate of stay n is 70 + n modulo 7."""

    def __init__(self, folder: Path) -> None:
        write_challenge(folder, num_stays=_NUM_STAYS, num_hours=14)
        timelines, _, setting = cohort(folder)
        base = recipe("icu-small")
        self.recipe = replace(
            base,
            model=replace(base.model, width=16, latent=8, num_heads=2, num_attention_heads=2),
            tuning=Tuning(num_epochs=40, patients_per_step=14, learning_rate=3e-3, dropout=0.0),
        )
        self.vocabulary = fit(timelines, conversion, config=base.vocabulary)
        self.tensorizer = Tensorizer(self.vocabulary, base.model.clock_days)
        self.cases = [c for t in timelines if (c := case_of(t, self.tensorizer)) is not None]
        assert setting.labelled is not None
        labels = {t.patient_id: n % 7 >= 4 for n, t in enumerate(timelines)}
        self.labelled = replace(setting.labelled, labels=labels, hours=(12.0, 13.0))
        self.setting = replace(setting, labelled=self.labelled)

    def model(self) -> Jepa:
        made = Jepa(self.recipe.model, self.vocabulary)
        initialise(made, torch.Generator().manual_seed(0))
        return made.eval()

    def taught(self, chosen: Recipe | None = None, setting: Setting | None = None) -> Jepa:
        model = self.model()
        self.seen: list[Progress] = []
        tune(
            model,
            self.cases,
            self.tensorizer,
            setting or self.setting,
            chosen or self.recipe,
            "cpu",
            self.seen.append,
        )
        return model

    def states(self, model: Jepa) -> States:
        return states_of(model, self.tensorizer, self.cases, self.labelled)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    return Ward(tmp_path_factory.mktemp("ward"))


def _weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def test_a_planted_outcome_is_learned_and_can_be_read_from_the_state(ward: Ward) -> None:
    model = ward.taught()
    first, last = ward.seen[0].losses["outcome"], ward.seen[-1].losses["outcome"]
    assert last < 0.5 * first
    states = ward.states(model)
    prognosis, _ = fit_prognosis(states, ward.labelled, seed=0)
    assert roc_auc_score(states.had, log_odds(prognosis, states)) > 0.95
    assert len(ward.seen) == ward.seen[-1].num_steps == 80
    assert not model.training


def test_the_objective_beside_it_reaches_what_the_outcome_does_not(ward: Ward) -> None:
    alone = replace(ward.recipe, tuning=Tuning(num_epochs=1, objective=0.0, patients_per_step=14))
    beside = replace(ward.recipe, tuning=Tuning(num_epochs=1, objective=1.0, patients_per_step=14))
    before = _weights(ward.model().readouts)
    # Alone they have no gradient: only the decay moves them.
    moved = {
        name: float((_weights(ward.taught(how).readouts) - before).norm())
        for name, how in (("alone", alone), ("beside", beside))
    }
    assert moved["beside"] > 5 * moved["alone"]


def test_the_same_seed_teaches_the_same_weights_and_another_seed_others(ward: Ward) -> None:
    short = replace(ward.recipe, tuning=Tuning(num_epochs=1, patients_per_step=14))
    one, again = _weights(ward.taught(short)), _weights(ward.taught(short))
    assert torch.equal(one, again)
    assert not torch.equal(one, _weights(ward.taught(replace(short, seed=1))))


def test_without_an_outcome_or_a_tuning_nothing_changes(ward: Ward) -> None:
    before = _weights(ward.model())
    assert torch.equal(_weights(ward.taught(replace(ward.recipe, tuning=None))), before)
    assert torch.equal(_weights(ward.taught(setting=replace(ward.setting, labelled=None))), before)


def test_every_patient_is_asked_once_an_epoch_at_every_hour(ward: Ward) -> None:
    asked: Labelled = ward.labelled
    lessons = OutcomeLessons(ward.cases, ward.tensorizer, asked, 14)
    assert lessons.steps_an_epoch == 2
    generator, seen, had = torch.Generator().manual_seed(0), 0, 0.0
    for _ in range(2):
        lesson, labels = lessons(generator)
        assert len(lesson.day) == len(labels) == 14 * len(asked.hours)
        assert sorted(set(lesson.day.tolist())) == list(asked.days)
        seen, had = seen + lesson.context.num_timelines, had + float(labels.sum())
    assert seen == len(ward.cases)
    assert had == len(asked.hours) * sum(_dies(case, asked) for case in ward.cases)


def _dies(case: Case, asked: Labelled) -> bool:
    return asked.labels[case.timeline.patient_id]


def test_late_weights_are_averaged_and_early_ones_are_not() -> None:
    weight = nn.Parameter(torch.zeros(2))
    late = LateMean([weight], num_steps=10, share=0.3)
    for step in range(1, 11):
        with torch.no_grad():
            weight.fill_(float(step))
        late.take(step)
    late.settle()
    assert weight.tolist() == [9.0, 9.0]  # of 8, 9 and 10
