"""What training keeps beside the network: a slow copy of it, and how hard each window is.

Knows weights and running means, as buffers: they are saved with an unfinished run, learn nothing by
gradient, and are left out of what is served (`Jepa.served`). Does not know windows or losses.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clinical.worldmodel.randomness import Dropout
from clinical.worldmodel.ranks import ALONE, Ranks


class SlowCopy(nn.Module):
    """A network that follows another: `slow <- decay * slow + (1 - decay) * weights` at each step.

    Its weights are buffers, so that no optimiser sees them; it drops nothing out. The first step
    takes the weights as they are.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        for module in self.network.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, weight.detach().clone())
            if isinstance(module, Dropout):
                module.share = 0.0
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def follow(self, network: nn.Module, decay: float) -> None:
        """One step after `network`; its own buffers (means, counts) are taken as they are."""
        assert isinstance(self.num_steps, Tensor)
        slow = dict(self.network.named_buffers())
        share = torch.where(self.num_steps > 0, 1 - decay, 1.0)
        for name, weight in network.named_parameters():
            slow[name].add_(share * (weight - slow[name]))
        for name, buffer in network.named_buffers():
            if name in slow:
                slow[name].copy_(buffer)
        self.num_steps += 1


class HorizonErrors(nn.Module):
    """How far each trained window's latent lies, on average, from that of the stretch just before."""

    def __init__(self, num_horizons: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.ones(num_horizons))
        self.register_buffer("counts", torch.zeros(num_horizons))

    @torch.no_grad()
    def learn(
        self,
        errors: Float[Tensor, " n"],
        horizon: Float[Tensor, " n"] | Tensor,
        ranks: Ranks = ALONE,
        *,
        memory: float = 1000.0,
    ) -> None:
        """Take in one error per row; a mean forgets what is more than about `memory` rows ago."""
        assert isinstance(self.means, Tensor)
        assert isinstance(self.counts, Tensor)
        own = horizon < len(self.means)
        sums = torch.zeros_like(self.means).index_add(0, horizon[own], errors[own].float())
        seen = torch.zeros_like(self.means).index_add(0, horizon[own], own[own].float())
        sums, seen = ranks.mean(sums) * ranks.number, ranks.mean(seen) * ranks.number
        self.counts += seen
        share = seen / self.counts.clamp(min=1.0, max=memory)
        mean = sums / seen.clamp(min=1.0)
        self.means += share.clamp(max=1.0) * (mean - self.means)

    def weights(self, num_windows: int) -> Float[Tensor, " H"]:
        """One over the error of each trained window, 1 on average; windows beyond them weigh 1."""
        assert isinstance(self.means, Tensor)
        inverse = 1 / self.means.clamp(min=1e-3)
        beyond = inverse.new_ones(num_windows - len(inverse))
        return torch.cat([inverse / inverse.mean(), beyond])
