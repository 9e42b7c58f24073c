"""What a foretold latent alone says of every series: only training asks it.

The readouts may look up the running statistics beside the latent, so nothing makes the latent, or the
state that it is foretold from, hold what stands there already. This readout sees the latent and nothing
else: through it a state is taught to say by itself how a patient is, and a probe of it finds that.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel import objective
from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.ranks import Ranks

_LIMIT = 5.0  # standard deviations; one mistyped value must not rule a step


class DirectReadout(nn.Module):
    """Per window: the next value of each series in standard deviations, and the logit of its being measured."""

    def __init__(self, config: ModelConfig, num_numeric: int) -> None:
        super().__init__()
        self.out = nn.Linear(config.latent, 2 * num_numeric)

    @override
    def forward(
        self, latents: Float[Tensor, "Q H L"]
    ) -> tuple[Float[Tensor, "Q H C"], Float[Tensor, "Q H C"]]:
        """Values and logits."""
        values, measured = self.out(latents).chunk(2, dim=-1)
        return values, measured

    def loss(
        self,
        latents: Float[Tensor, "Q H L"],
        truth: Float[Tensor, "Q H C"],
        is_followed: Bool[Tensor, "Q H"],
        weight: Float[Tensor, " Q"],
        ranks: Ranks,
    ) -> Float[Tensor, ""]:
        """Twice the Huber loss of the values plus the cross-entropy of being measured (design 7.15).

        `truth` is NaN where a series was not measured.
        """
        values, measured = self(latents)
        is_measured = ~torch.isnan(truth)
        truth = torch.nan_to_num(truth).clamp(-_LIMIT, _LIMIT)
        weights = weight[:, None, None]
        errors = nn.functional.smooth_l1_loss(values, truth, reduction="none")
        missed = nn.functional.binary_cross_entropy_with_logits(
            measured, is_measured.float(), reduction="none"
        )
        followed = is_followed[..., None].expand_as(missed)
        return 2 * objective.masked_mean(errors * weights, is_measured, ranks) + (
            objective.masked_mean(missed * weights, followed, ranks)
        )
