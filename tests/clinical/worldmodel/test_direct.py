"""The direct readout: it teaches the latent alone, counts what was measured, and is off by default."""

from dataclasses import replace

import pytest
import torch

from clinical.worldmodel.direct import DirectReadout
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.ranks import ALONE
from clinical.worldmodel.vocabulary import Vocabulary
from tests.clinical.worldmodel.conftest import SMALL


def made_up() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(5, 2, SMALL.latent, generator=generator, requires_grad=True)
    truth = torch.randn(5, 2, 3, generator=generator)
    truth[0, 0, 1] = torch.nan
    is_followed = torch.ones(5, 2, dtype=torch.bool)
    is_followed[4] = False
    return latents, truth, is_followed


def test_the_loss_is_twice_huber_where_measured_plus_cross_entropy_where_followed():
    readout = DirectReadout(SMALL, 3)
    latents, truth, is_followed = made_up()
    loss = readout.loss(latents, truth, is_followed, torch.ones(5), ALONE)
    values, measured = readout(latents)
    is_measured = ~torch.isnan(truth)
    huber = torch.nn.functional.smooth_l1_loss(values[is_measured], truth[is_measured])
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        measured[is_followed], is_measured[is_followed].float()
    )
    assert loss.item() == pytest.approx((2 * huber + entropy).item(), rel=1e-5)


def test_a_mistyped_value_pulls_no_harder_than_the_limit():
    readout = DirectReadout(SMALL, 3)
    latents, truth, is_followed = made_up()
    truth[1, 1, 2] = 5.0
    at_limit = readout.loss(latents, truth, is_followed, torch.ones(5), ALONE)
    truth[1, 1, 2] = 1e30
    assert torch.equal(readout.loss(latents, truth, is_followed, torch.ones(5), ALONE), at_limit)


def test_a_model_has_it_only_where_its_configuration_says_so(vocabulary: Vocabulary):
    assert Jepa(SMALL, vocabulary).direct is None
    assert Jepa(replace(SMALL, grounds_latents=True), vocabulary).direct is not None
