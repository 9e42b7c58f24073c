"""The slow copy and the running errors as arithmetic; what they leave in a checkpoint: nothing."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from clinical.worldmodel.config import ModelConfig, Target, Teacher
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.teacher import HorizonErrors, SlowCopy
from clinical.worldmodel.vocabulary import Vocabulary
from tests.clinical.worldmodel.conftest import SMALL


def test_the_slow_copy_follows_by_the_formula():
    network = nn.Linear(1, 1, bias=False)
    slow = SlowCopy(network)
    followed = []
    for weight in (1.0, 2.0, 4.0):
        nn.init.constant_(network.weight, weight)
        slow.follow(network, 0.75)
        followed.append(float(slow.network.weight))  # type: ignore[arg-type]
    second = 0.75 * 1.0 + 0.25 * 2.0
    assert followed == pytest.approx([1.0, second, 0.75 * second + 0.25 * 4.0])


def test_the_slow_copy_has_no_weights_to_learn_and_takes_buffers_as_they_are():
    network = nn.BatchNorm1d(3)
    slow = SlowCopy(network)
    assert list(slow.parameters()) == []
    network(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) + 5)
    slow.follow(network, 0.9)
    torch.testing.assert_close(slow.network.running_mean, network.running_mean)


def test_running_errors_are_means_and_weights_their_inverses():
    errors = HorizonErrors(2)
    errors.learn(torch.tensor([1.0, 3.0, 8.0, 99.0]), torch.tensor([0, 0, 1, 2]))
    torch.testing.assert_close(errors.means, torch.tensor([2.0, 8.0]))
    errors.learn(torch.tensor([5.0]), torch.tensor([0]))
    torch.testing.assert_close(errors.means, torch.tensor([3.0, 8.0]))
    weights = errors.weights(3)
    assert float(weights[0] / weights[1]) == pytest.approx(8 / 3)
    assert float(weights[:2].mean()) == pytest.approx(1)
    assert float(weights[2]) == 1


def test_running_errors_forget_what_is_long_ago():
    errors = HorizonErrors(1)
    for value in (1.0, 9.0):
        errors.learn(torch.full((5000,), value), torch.zeros(5000, dtype=torch.int64), memory=100.0)
    assert float(errors.means) == pytest.approx(9.0)


def built(config: ModelConfig, vocabulary: Vocabulary) -> Jepa:
    model = Jepa(config, vocabulary)
    initialise(model, torch.Generator().manual_seed(1))
    return model


def test_what_only_training_needs_is_not_served(vocabulary: Vocabulary):
    trained = built(replace(SMALL, teacher=Teacher.EMA, weighs_horizons=True), vocabulary)
    names = set(trained.state_dict())
    assert any(name.startswith("teacher.") for name in names)
    served = trained.served()
    assert set(served.state_dict()) == set(built(SMALL, vocabulary).state_dict())
    assert served.config == SMALL
    assert trained.teacher is not None  # the run can go on
    Jepa(served.config, vocabulary).load_state_dict(served.state_dict())


def test_switches_that_are_off_add_no_weight(vocabulary: Vocabulary):
    model = built(SMALL, vocabulary)
    assert model.served() is model
    assert model.teacher is None
    assert not any("ending" in name or "errors" in name for name in model.state_dict())


def test_a_configuration_with_other_targets_survives_its_json():
    chosen = replace(SMALL, target=Target.BOTH, teacher=Teacher.EMA, compared_width=7)
    assert ModelConfig.from_json(chosen.to_json()) == chosen
    old = {k: v for k, v in SMALL.to_json().items() if k not in {"target", "teacher"}}
    assert ModelConfig.from_json(old) == SMALL
