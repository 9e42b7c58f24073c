"""Randomness from a generator that the caller owns, never from the process-wide one.

torch's own initialisers and dropout draw from a global state that anybody may move; these do not.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override


class Dropout(nn.Module):
    """Zeroes each number with probability `share` while training and scales the rest up.

    Needs a generator before it can train: see `seed_dropout`.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.generator: torch.Generator | None = None

    @override
    def forward(self, numbers: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The numbers, some of them dropped."""
        if not self.training or self.share == 0:
            return numbers
        assert self.generator is not None, "training needs a generator for dropout"
        luck = torch.rand(numbers.shape, generator=self.generator, device=numbers.device)
        return numbers * (luck >= self.share) / (1 - self.share)


def seed_dropout(model: nn.Module, generator: torch.Generator) -> None:
    """Let every dropout of the model draw from `generator`."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.generator = generator


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Give every weight its first value: the same generator state, the same model.

    Linear layers are uniform within one over the root of their inputs, tables normal; then each
    module that has `settle` sets what must start at a value of its own.
    """
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                limit = 1 / math.sqrt(module.in_features)
                module.weight.uniform_(-limit, limit, generator=generator)
                if module.bias is not None:
                    module.bias.uniform_(-limit, limit, generator=generator)
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, 0.3, generator=generator)
                if module.padding_idx is not None:
                    module.weight[module.padding_idx].zero_()
        for module in model.modules():
            settle = getattr(module, "settle", None)
            if settle is not None:
                settle()
