"""What training makes small: latents that can be foretold, and readouts that are right.

Knows the losses as mathematics; does not know the network, the optimiser or patients.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.config import QUANTILES, ModelConfig
from clinical.worldmodel.ranks import ALONE, Ranks


class Projector(nn.Module):
    """The space in which latents are compared; it is not used once training is over.

    The batch statistics are those of the targets and act alike on targets and predictions, so that
    a prediction cannot look wider than it is.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.into = nn.Linear(config.latent, config.projector_width)
        self.norm = nn.BatchNorm1d(config.projector_width)
        self.out = nn.Linear(config.projector_width, config.num_compared)

    @override
    def forward(
        self,
        targets: Float[Tensor, "n L"],
        predicted: Float[Tensor, "m L"],
        ranks: Ranks = ALONE,
    ) -> tuple[Float[Tensor, "n P"], Float[Tensor, "m P"]]:
        """Both, projected by one and the same map."""
        wide, wide_predicted = self.into(targets), self.into(predicted)
        if not self.training:
            mean, variance = self.norm.running_mean, self.norm.running_var
        elif ranks.number == 1:
            mean, variance = wide.mean(0), wide.var(0, unbiased=False)
        else:
            mean, variance = self._over_ranks(wide, ranks)
        assert mean is not None
        assert variance is not None
        scale = self.norm.weight * (variance + self.norm.eps).rsqrt()
        if self.training and ranks.number > 1:
            normed = (wide - mean) * scale + self.norm.bias
        else:
            normed = self.norm(wide)  # while training it also updates the running statistics
        normed_predicted = (wide_predicted - mean) * scale + self.norm.bias
        activate = nn.functional.silu
        projected: Tensor = self.out(activate(normed))
        projected_predicted: Tensor = self.out(activate(normed_predicted))
        return projected, projected_predicted

    def _over_ranks(
        self, wide: Float[Tensor, "n W"], ranks: Ranks
    ) -> tuple[Float[Tensor, " W"], Float[Tensor, " W"]]:
        """Mean and variance of the rows of all ranks; the running statistics learn of them."""
        mean = ranks.mean_row(wide)
        variance = ranks.mean_row((wide - mean).square())
        num = ranks.rows(len(wide), wide)
        running_mean, running_variance = self.norm.running_mean, self.norm.running_var
        assert running_mean is not None
        assert running_variance is not None
        assert self.norm.num_batches_tracked is not None
        with torch.no_grad():
            running_mean.lerp_(mean, self.norm.momentum or 0.0)
            unbiased = variance * num / (num - 1).clamp(min=1.0)
            running_variance.lerp_(unbiased, self.norm.momentum or 0.0)
            self.norm.num_batches_tracked += 1
        return mean, variance


def latent_loss(
    predicted: Float[Tensor, "n K L"],
    targets: Float[Tensor, "n L"],
    weights: Float[Tensor, "n K"],
    ranks: Ranks = ALONE,
) -> Float[Tensor, ""]:
    """Mean squared error of each head, weighted by how often its bootstrap drew the patient."""
    errors = ((predicted - targets[:, None]) ** 2).mean(-1)
    return (errors * weights).sum() / ranks.share(weights.sum()).clamp(min=1.0)


def pinball(quantiles: Float[Tensor, "n X"], values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The quantile loss (Koenker & Bassett 1978), mean over the levels."""
    levels = torch.tensor(QUANTILES, device=quantiles.device)
    gap = values[:, None] - quantiles
    return torch.maximum(levels * gap, (levels - 1) * gap).mean(-1)


def masked_mean(
    losses: Float[Tensor, "*n"], is_counted: Bool[Tensor, "*n"], ranks: Ranks = ALONE
) -> Float[Tensor, ""]:
    """The mean over what counts; 0 where nothing does.

    With several ranks, the rank's part of the mean over all of them: their average is that mean.
    """
    kept = torch.where(is_counted, losses, torch.zeros_like(losses))
    return kept.sum() / ranks.share(is_counted.sum()).clamp(min=1.0)


def first_in_window(
    pair_window: Int[Tensor, " P"],
    pair_series: Int[Tensor, " P"],
    num_windows: int,
    num_series: int,
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """The cells `window * num_series + series` that have a pair, and the first pair of each."""
    cell = pair_window * num_series + pair_series
    num_cells = num_windows * num_series
    place = torch.arange(len(cell), device=cell.device)
    first = torch.full((num_cells,), len(cell), device=cell.device, dtype=torch.int64)
    first = first.scatter_reduce(0, cell, place, reduce="amin")
    filled = torch.nonzero(first < len(cell)).squeeze(1)
    return filled, first[filled]
