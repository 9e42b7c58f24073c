"""What must be remembered of the events already read, beside the memory of the network.

Knows counts, running statistics and which diagnoses were already made. Its size depends on the
vocabulary, never on the length of the history.
"""

import copy
import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from clinical.worldmodel.statistics import NUM_RUNNING, Running


@dataclass(slots=True)
class Tally:
    """What was read so far of one timeline."""

    running: dict[int, Running] = field(default_factory=dict)
    conditions: set[str] = field(default_factory=set)
    birth_day: float = math.nan
    last_day: float = math.nan

    def copy(self) -> "Tally":
        """A tally that can be added to without changing this one."""
        running = {series: copy.copy(numbers) for series, numbers in self.running.items()}
        return Tally(running, set(self.conditions), self.birth_day, self.last_day)

    def table(self, num_series: int) -> Float[Tensor, "S R"]:
        """The running statistics of every series, zero for those never seen."""
        table = torch.zeros(num_series, NUM_RUNNING, dtype=torch.float64)
        for series, running in self.running.items():
            table[series] = torch.tensor(running.numbers(), dtype=torch.float64)
        return table
