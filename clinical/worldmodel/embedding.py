"""One vector per event: what it is, its value, its flags and its role, fused.

Knows how the parts are added up. Does not know time order, bundles or patients.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.tensorize import ATTRIBUTE_SIZES, NUM_FLAGS
from clinical.worldmodel.vocabulary import NUM_KNOTS, Vocabulary


class EventEmbedding(nn.Module):
    """`code + value(code, soft decile) + clipped z + answer + flags + attributes`, design 7.1.

    A code without token is its system, ancestors and words alone; training drops the token of
    known codes at random so that this fall-back is learned.
    """

    def __init__(self, config: ModelConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        width = config.width
        self.exact = nn.Embedding(len(vocabulary.entries) + 1, width, padding_idx=0)
        self.system = nn.Embedding(len(vocabulary.systems) + 1, width, padding_idx=0)
        self.pieces = nn.Embedding(config.num_buckets, width, padding_idx=0)
        self.attributes = nn.ModuleList(nn.Embedding(size, width) for size in ATTRIBUTE_SIZES)
        self.flags = nn.Linear(NUM_FLAGS, width, bias=False)
        # Row block 0 is shared by the codes with too few values for knots of their own.
        self.knots = nn.Embedding(NUM_KNOTS * (len(vocabulary.bin_rows) + 1), width)
        self.modulation = nn.Embedding(len(vocabulary.entries) + 1, 2, padding_idx=0)
        self.extremity = nn.Linear(2, width, bias=False)
        self.norm = nn.RMSNorm(width)

    def settle(self) -> None:
        """Begin with shared decile vectors that no code changes."""
        self.modulation.weight.zero_()

    def concepts(self, batch: TimelineBatch) -> tuple[Float[Tensor, "C D"], Float[Tensor, "C D"]]:
        """The exact vector and the fall-back vector of every concept."""
        words = self.pieces(batch.concept_pieces).sum(dim=1)
        counts = (batch.concept_pieces > 0).sum(dim=1, keepdim=True).clamp(min=1)
        return self.exact(batch.concept_token), self.system(batch.concept_system) + words / counts

    @override
    def forward(
        self, batch: TimelineBatch, is_exact: Bool[Tensor, " N"] | None = None
    ) -> Float[Tensor, "N D"]:
        """One vector per event; `is_exact` False withholds the token of that event's code."""
        exact, fallback = self.concepts(batch)
        own = exact[batch.event_concept]
        if is_exact is not None:
            own = own * is_exact[:, None]
        total = own + fallback[batch.event_concept]
        answered = batch.event_value_concept
        total = total + torch.where((answered > 0)[:, None], (exact + fallback)[answered], 0.0)
        for column, table in enumerate(self.attributes):
            total = total + table(batch.event_attributes[:, column])
        lag = torch.stack([batch.event_lag, batch.event_number[:, 1]], dim=1)
        total = total + self.flags(batch.event_flags) + self._value(batch) + self.extremity(lag)
        normed: Tensor = self.norm(total)
        return normed

    def _value(self, batch: TimelineBatch) -> Float[Tensor, "N D"]:
        position, _, is_number = batch.event_number.unbind(1)
        below = position.floor().clamp(max=NUM_KNOTS - 2)
        share = (position - below)[:, None]
        row: Int[Tensor, " N"] = batch.event_bin_row * NUM_KNOTS + below.long()
        value = (1 - share) * self.knots(row) + share * self.knots(row + 1)
        # Shared knots are scaled and shifted per code; a code's own knots need neither.
        change = self.modulation(batch.concept_token[batch.event_concept])
        is_shared = (batch.event_bin_row == 0)[:, None]
        value = torch.where(is_shared, value * (1 + change[:, :1]) + change[:, 1:], value)
        return value * is_number[:, None]
