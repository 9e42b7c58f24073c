"""The signs of health as numbers: on data whose answer is known beforehand."""

import pytest
import torch

from clinical.worldmodel.config import LossConfig
from pipelines.training.gates import better
from pipelines.training.signs import (
    explained,
    lidar,
    lower_bound,
    most_skill,
    nulls,
    own_to_nearest,
    rank,
    ridge,
    separation,
    straightness,
)


def drawn(num: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num, width, generator=torch.Generator().manual_seed(seed))


def test_rank_counts_the_dimensions_that_are_used():
    wide = drawn(500, 8)
    assert rank(wide) == pytest.approx(8, rel=0.02)
    assert rank(wide[:, :1].expand(-1, 8)) == pytest.approx(1, rel=0.01)


def test_lidar_counts_the_dimensions_that_tell_clusters_apart():
    """Noise in all six, the centres of clusters in two."""
    cluster = torch.arange(200).repeat_interleave(5)
    centres = torch.zeros(200, 6)
    centres[:, :2] = drawn(200, 2) * 30
    assert lidar(centres[cluster] + drawn(1000, 6, 1), cluster) == pytest.approx(2, rel=0.05)
    assert lidar(drawn(1000, 6, 2), cluster) == pytest.approx(6, rel=0.05)


def test_for_gaussian_latents_sigreg_is_about_its_null():
    latents, generator = drawn(400, 32), torch.Generator().manual_seed(1)
    assert nulls(latents, torch.arange(400), LossConfig(), generator) == pytest.approx(1, abs=0.3)


def test_rows_repeated_within_an_owner_do_not_raise_sigreg_over_its_null():
    config, generator = LossConfig(), torch.Generator().manual_seed(1)
    latents, owner = drawn(150, 8), torch.arange(150)
    once = nulls(latents, owner, config, generator)
    repeated, six = latents.repeat_interleave(6, 0), owner.repeat_interleave(6)
    assert nulls(repeated, six, config, generator) == pytest.approx(once, rel=0.15)
    every_row = nulls(repeated, torch.arange(900), config, generator)
    assert every_row == pytest.approx(6 * once, rel=0.15)


def test_ridge_finds_what_is_linear_and_falls_back_to_the_mean():
    inputs, owner = drawn(300, 5), torch.arange(300) % 60
    targets = inputs @ drawn(5, 3, 1) + 2
    guess = ridge(inputs, targets, owner, drawn(40, 5, 2))
    torch.testing.assert_close(guess, drawn(40, 5, 2) @ drawn(5, 3, 1) + 2, atol=0.1, rtol=0.1)
    noise = drawn(300, 3, 3)
    nothing = ridge(inputs, noise, owner, drawn(40, 5, 2))
    assert float((nothing - noise.mean(0)).abs().max()) < 0.5


def test_the_lower_bound_resamples_owners_and_not_rows():
    numbers, owner = drawn(10, 1).squeeze(1).repeat_interleave(100), torch.arange(10)
    generator = torch.Generator().manual_seed(0)
    by_row = lower_bound(numbers, torch.arange(1000), generator)
    by_owner = lower_bound(numbers, owner.repeat_interleave(100), generator)
    assert by_owner < by_row < float(numbers.mean())


def test_a_forecast_of_the_very_patient_is_nearer_to_it_than_to_those_alike():
    target, owner, alike = drawn(60, 4), torch.arange(60), drawn(60, 3, 1)
    own = own_to_nearest(target + 0.1 * drawn(60, 4, 2), target, owner, alike)
    anybody = own_to_nearest(torch.zeros(60, 4), target, owner, alike)
    assert own is not None
    assert anybody is not None
    assert own < 0.3
    assert anybody > 1
    assert own_to_nearest(target[:4], target[:4], owner[:4], alike[:4]) is None


def test_separation_counts_pairs_and_explained_is_a_share_of_variance():
    had = torch.tensor([1.0, 1, 0, 0])
    assert separation(torch.tensor([3.0, 2, 2, 1]), had) == pytest.approx(3.5 / 4)
    assert separation(had, torch.ones(4)) is None
    truth = torch.tensor([1.0, 2, 3])
    assert explained(truth, truth) == pytest.approx(1)
    assert explained(torch.full((3,), 2.0), truth) == pytest.approx(0)


def test_a_straight_path_has_cosine_one_and_paths_do_not_join():
    line = torch.arange(5.0)[:, None] * torch.tensor([[1.0, 2.0]])
    back = torch.cat([line, -line])
    owner = torch.tensor([0] * 5 + [1] * 5)
    assert straightness(back, owner) == pytest.approx(1)
    assert straightness(line[:2], owner[:2]) is None


@pytest.mark.parametrize(("error", "verdict"), [(0.9, "yes"), (1.02, "undecided"), (1.5, "**no**")])
def test_a_skill_is_missing_only_where_the_patients_show_it(error: float, verdict: str):
    baseline, owner = drawn(100, 1).squeeze(1).square() + 0.5, torch.arange(100) % 20
    own = baseline * error + 0.3 * (drawn(100, 1, 1).squeeze(1))
    own = own * (error * baseline.mean() / own.mean())
    most = most_skill(own, baseline, owner, torch.Generator().manual_seed(0))
    skill = 1 - float(own.mean() / baseline.mean())
    gate = better("skill", skill, most)
    assert skill == pytest.approx(1 - error, abs=1e-5)
    assert gate.verdict == verdict
    assert gate.is_green is (verdict == "yes")
