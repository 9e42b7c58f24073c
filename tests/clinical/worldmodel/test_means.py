"""Expected values: at persistence first, and their loss worked out by hand."""

from dataclasses import replace

import pytest
import torch

from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.means import Means
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.statistics import NUM_FEATURES
from clinical.worldmodel.vocabulary import Vocabulary
from tests.clinical.worldmodel.patients import GLUCOSE, WEIGHT

CONFIG = ModelConfig(width=8, latent=8, num_buckets=64, means_of=(WEIGHT.key, GLUCOSE.key))


@pytest.fixture
def means(vocabulary: Vocabulary) -> Means:
    built = Means(CONFIG, vocabulary)
    initialise(built, torch.Generator().manual_seed(0))
    return built.requires_grad_(requires_grad=False)


def features_of(vocabulary: Vocabulary, weight: float, glucose: float) -> torch.Tensor:
    """Last values in standard deviations; one question."""
    features = torch.zeros(1, len(vocabulary.numeric) + 6, NUM_FEATURES)
    features[0, vocabulary.numeric.index(WEIGHT.key), 0] = weight
    features[0, vocabulary.numeric.index(GLUCOSE.key), 0] = glucose
    return features


BOUNDS = torch.tensor([[[0.0, 1.0], [1.0, 4.0]]])


def plan_of(*days: float) -> Plan:
    """One and the same action on each of these days."""
    vectors = torch.ones(1, len(days), 8)
    is_action = torch.ones(1, len(days), dtype=torch.bool)
    return Plan(vectors, torch.tensor([days]), is_action, torch.ones(1, dtype=torch.bool))


def said(means: Means, features: torch.Tensor, plan: Plan | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 2, 3, 8, generator=generator)
    state = torch.randn(1, 8, generator=generator)
    return means(latents, state, features, BOUNDS, plan or Plan.usual_care(state))


def test_a_change_is_in_proportion_to_the_last_value(means: Means, vocabulary: Vocabulary) -> None:
    scale = vocabulary.scales[WEIGHT.key]
    zero = -scale.mean / scale.sd
    last = torch.tensor([2.0, 9.0])
    change = []
    for weight in last:
        expected = said(means, features_of(vocabulary, float(weight), 0.0))[..., 0]
        change.append((expected - weight) / torch.sqrt((weight - zero) ** 2 + 0.25))
    torch.testing.assert_close(change[0], change[1])
    assert (change[0] != 0).any()


def test_with_nothing_learned_the_last_value_is_expected(
    means: Means, vocabulary: Vocabulary
) -> None:
    means.out.weight.zero_()
    means.effect.weight.zero_()
    expected = said(means, features_of(vocabulary, 1.5, -0.5))
    assert expected.shape == (1, 2, 3, 2)
    torch.testing.assert_close(expected[..., 0], torch.full((1, 2, 3), 1.5))
    torch.testing.assert_close(expected[..., 1], torch.full((1, 2, 3), -0.5))


def logarithm(means: Means, features: torch.Tensor, plan: Plan) -> torch.Tensor:
    expected = said(means, features, plan)[..., 0]
    last = features[:, means.series[0], 0]
    return ((expected - last) / means.size(features)[:, 0] + 1).log()


def test_effects_add_up_and_come_after_the_action(means: Means, vocabulary: Vocabulary) -> None:
    features = features_of(vocabulary, 1.0, 0.0)
    none = logarithm(means, features, plan_of())
    one, other = (logarithm(means, features, plan_of(day)) for day in (0.5, 2.0))
    both = logarithm(means, features, plan_of(0.5, 2.0))
    torch.testing.assert_close(both - none, (one - none) + (other - none))
    assert (one != none).all()
    torch.testing.assert_close(other[:, 0], none[:, 0])  # the first window ends before day 2
    assert (other[:, 1] != none[:, 1]).all()


def test_the_loss_is_squared_in_sizes_and_divided_by_the_time_ahead(
    means: Means, vocabulary: Vocabulary
) -> None:
    features = features_of(vocabulary, 1.0, 0.0)
    size = means.size(features)[0]
    scale = vocabulary.scales[WEIGHT.key]
    assert size[0] == pytest.approx(((1.0 + scale.mean / scale.sd) ** 2 + 0.25) ** 0.5)
    expected = torch.ones(1, 2, 1, 2)
    values = torch.full((1, 2, len(vocabulary.numeric)), torch.nan)
    values[0, :, means.series[0]] = torch.tensor([3.0, 5.0])  # glucose is not measured
    loss = means.loss(expected, values, features, BOUNDS, torch.ones(1, 1))
    by_hand = ((2 / size[0]) ** 2 / 1 + (4 / size[0]) ** 2 / 4) / 2
    torch.testing.assert_close(loss, by_hand)


def test_patients_that_a_head_did_not_draw_do_not_teach_it(
    means: Means, vocabulary: Vocabulary
) -> None:
    features = features_of(vocabulary, 1.0, 0.0)
    values = torch.zeros(1, 2, len(vocabulary.numeric))
    expected = torch.ones(1, 2, 2, 2)
    none = means.loss(expected, values, features, BOUNDS, torch.zeros(1, 2))
    assert none == 0


def test_a_model_without_means_has_no_weights_for_them(vocabulary: Vocabulary) -> None:
    plain = Jepa(replace(CONFIG, means_of=()), vocabulary)
    assert plain.means is None
    assert not [name for name in plain.state_dict() if name.startswith("means")]


def test_the_choice_survives_the_manifest() -> None:
    assert ModelConfig.from_json(CONFIG.to_json()) == CONFIG
