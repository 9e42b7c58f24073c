"""Running values as deciles: where a value lies among the training values, as its token has it."""

from dataclasses import replace

import pytest
import torch

from clinical.worldmodel.deciles import Deciles
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.statistics import NUM_FEATURES, VALUE_COLUMNS
from clinical.worldmodel.vocabulary import Vocabulary
from tests.clinical.worldmodel.conftest import SMALL


def test_a_value_becomes_the_position_that_its_token_has(vocabulary: Vocabulary):
    scales = [vocabulary.scales[key] for key in vocabulary.numeric]
    features = torch.zeros(9, len(scales) + 6, NUM_FEATURES)
    features[..., -1] = 1.0
    generator = torch.Generator().manual_seed(0)
    for series, scale in enumerate(scales):
        reach = scale.knots[-1] - scale.knots[0]
        for row, share in enumerate(torch.rand(9, generator=generator).tolist()):
            value = scale.knots[0] + (1.2 * share - 0.1) * reach
            features[row, series, 0] = scale.standardised(value)
            expected = (scale.position(value) - 5) / 3
            ranked = Deciles(vocabulary)(features)
            assert float(ranked[row, series, 0]) == pytest.approx(expected, abs=1e-3)


def test_what_was_never_seen_stays_zero_and_what_is_no_value_stays_as_it_is(
    vocabulary: Vocabulary,
):
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(4, len(vocabulary.numeric) + 6, NUM_FEATURES, generator=generator)
    features[..., -1] = 1.0
    features[2] = 0.0
    ranked = Deciles(vocabulary)(features)
    assert not ranked[2].any()
    others = [column for column in range(NUM_FEATURES) if column not in VALUE_COLUMNS]
    assert torch.equal(ranked[..., others], features[..., others])
    assert torch.equal(ranked[:, len(vocabulary.numeric) :], features[:, len(vocabulary.numeric) :])


def test_the_knots_are_of_the_vocabulary_and_not_among_the_weights(vocabulary: Vocabulary):
    plain = Jepa(SMALL, vocabulary)
    ranking = Jepa(replace(SMALL, ranks_values=True), vocabulary)
    assert plain.deciles is None
    assert plain.state_dict().keys() == ranking.state_dict().keys()
