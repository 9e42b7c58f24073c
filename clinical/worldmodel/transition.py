"""How a state is carried over a stretch of time by the latent that was foretold for it.

A small cell on predicted latents, as in V-JEPA 2-AC. Knows states and latents; does not know plans,
nor how far may be composed.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.targets import NUM_WINDOW_FEATURES, window_features


class Transition(nn.Module):
    """The state after a stretch of time, from the state before it and the latent foretold for it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        inputs = config.width + config.latent + NUM_WINDOW_FEATURES
        self.clock_days = config.clock_days
        self.gate = nn.Linear(inputs, config.width)
        self.change = nn.Sequential(
            nn.Linear(inputs, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )

    def settle(self) -> None:
        """Begin near standing still."""
        self.gate.weight.mul_(0.1)
        self.gate.bias.fill_(-2.0)

    @override
    def forward(
        self,
        state: Float[Tensor, "Q D"],
        latent: Float[Tensor, "Q L"],
        stretch: Float[Tensor, "Q 2"],
    ) -> Float[Tensor, "Q D"]:
        """The state at the end of `stretch` (days after the question)."""
        inputs = torch.cat([state, latent, window_features(stretch, self.clock_days)], dim=-1)
        moved: Tensor = state + self.gate(inputs).sigmoid() * self.change(inputs)
        return moved
