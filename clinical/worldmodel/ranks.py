"""The processes that train one model together, as the objective sees them.

Knows that a batch may be split over ranks, and that a mean over all of it is wanted. Does not know
how ranks speak to each other: the caller brings a differentiable mean.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def _alone(values: Tensor) -> Tensor:
    return values


@dataclass(frozen=True, slots=True)
class Ranks:
    """`number` processes; `mean` gives each of them the mean of what all of them pass.

    `mean` must be called by every rank in the same order, keep the shape, and let gradients through.
    A loss built with these means, averaged over the ranks as DDP averages gradients, has the
    gradients of the whole batch on one process.
    """

    mean: Callable[[Tensor], Tensor] = _alone
    number: int = 1

    def share(self, count: Shaped[Tensor, " *n"]) -> Float[Tensor, " *n"]:
        """The mean over ranks of a count: what a rank's sum is divided by to weigh all rows alike."""
        return self.mean(count.detach().float())

    def rows(self, num: int, like: Tensor) -> Float[Tensor, ""]:
        """How many rows all ranks have together."""
        return self.share(torch.tensor(num, device=like.device)) * self.number

    def mean_row(self, rows: Float[Tensor, " n *d"]) -> Float[Tensor, " *d"]:
        """The mean row over all ranks, which may have different numbers of rows."""
        own = rows.mean(0) if len(rows) else rows.sum(0)
        share = self.share(torch.tensor(len(rows), device=rows.device)).clamp(min=1.0)
        return self.mean(own * (len(rows) / share))


ALONE = Ranks()
"""One process with the whole batch."""
