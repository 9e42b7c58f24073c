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
        """One vector per event; `is_exact` False withholds the token of that event's code.

        All that is not a number is the same for many events: it is added up once per kind.
        """
        kind, example = kinds(batch)
        own, rest, scale = self._of_kinds(batch, example)
        place = kind if is_exact is None else kind + len(example) * ~is_exact
        total = torch.cat([own + rest, rest]).index_select(0, place)
        lag = torch.stack([batch.event_lag, batch.event_number[:, 1]], dim=1)
        total = total + self._value(batch, scale[kind]) + self.extremity(lag)
        normed: Tensor = self.norm(total)
        return normed

    def _of_kinds(
        self, batch: TimelineBatch, example: Int[Tensor, " k"]
    ) -> tuple[Float[Tensor, "k D"], Float[Tensor, "k D"], Float[Tensor, " k"]]:
        """Per kind: the exact vector, the sum of all else but numbers, the scale of its decile vectors."""
        exact, fallback = self.concepts(batch)
        concept, answered = batch.event_concept[example], batch.event_value_concept[example]
        rest = fallback[concept] + torch.where(
            (answered > 0)[:, None], (exact + fallback)[answered], 0.0
        )
        for column, table in enumerate(self.attributes):
            rest = rest + table(batch.event_attributes[example, column])
        # Shared knots are scaled and shifted per code; a code's own knots need neither.
        is_shared = (batch.event_bin_row[example] == 0) & (batch.event_number[example, 2] > 0)
        change = self.modulation(batch.concept_token[concept]) * is_shared[:, None]
        rest = rest + self.flags(batch.event_flags[example]) + change[:, 1:]
        return exact[concept], rest, 1 + change[:, 0]

    def _value(self, batch: TimelineBatch, scale: Float[Tensor, " N"]) -> Float[Tensor, "N D"]:
        position, _, is_number = batch.event_number.unbind(1)
        below = position.floor().clamp(max=NUM_KNOTS - 2)
        share = position - below
        row: Int[Tensor, " N"] = batch.event_bin_row * NUM_KNOTS + below.long()
        shares = torch.stack([1 - share, share], dim=1) * (is_number * scale)[:, None]
        value: Tensor = nn.functional.embedding_bag(
            torch.stack([row, row + 1], dim=1),
            self.knots.weight,
            per_sample_weights=shares,
            mode="sum",
        )
        return value


def kinds(batch: TimelineBatch) -> tuple[Int[Tensor, " N"], Int[Tensor, " k"]]:
    """Which events are alike in all but their numbers: the kind of each, and one event of each kind."""
    bits = 2.0 ** torch.arange(NUM_FLAGS, dtype=torch.float64, device=batch.event_flags.device)
    columns = [
        (batch.event_value_concept, len(batch.concept_token)),
        *zip(batch.event_attributes.unbind(1), ATTRIBUTE_SIZES, strict=True),
        ((batch.event_flags.double() @ bits).long(), 2**NUM_FLAGS),
        ((batch.event_bin_row == 0).long(), 2),
        (batch.event_number[:, 2].long(), 2),
    ]
    key = batch.event_concept
    for column, size in columns:
        key = key * size + column
    distinct, kind = torch.unique(key, return_inverse=True)
    places = torch.arange(len(kind), device=kind.device)
    example = torch.zeros_like(distinct).scatter_reduce(
        0, kind, places, reduce="amax", include_self=False
    )
    return kind, example
