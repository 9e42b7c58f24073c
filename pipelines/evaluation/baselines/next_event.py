"""An autoregressive next-event transformer: foretells the next event and how long it takes.

The generative model that people would use instead, over the same tokeniser: one event is one token,
the fused class of its code and the decile of its value; a second head says how long the wait is.
Knows classes, waits and one network. Does not know how it is trained, nor how futures are drawn.

Pre-norm blocks with rotary positions (Su et al. 2021) and a gated perceptron; waits are a
categorical over "at the same moment" and logarithmic bins.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.encoder import NUM_AGE_FEATURES, age_features
from clinical.worldmodel.randomness import Dropout
from clinical.worldmodel.vocabulary import NUM_KNOTS, Vocabulary

NUM_DECILES = NUM_KNOTS - 1
START = 0
"""The class of the token before everything; a code that the vocabulary does not know is class 1."""
_UNKNOWN = 1
_NUM_CLOCKS = 3 + NUM_AGE_FEATURES
_SHORTEST, _LONGEST, NUM_WAITS = 1e-3, 1e4, 33  # in units of the model's clock; wait 0: no time


@dataclass(frozen=True, slots=True, kw_only=True)
class NextEventConfig:
    """Sizes of the transformer, and the unit of its clock."""

    width: int = 64
    num_layers: int = 2
    num_attention_heads: int = 4
    dropout: float = 0.1
    max_events: int = 1024
    """Of a history: earlier ones are not seen, as with any transformer."""
    clock_days: float = 1.0


class Classes:
    """Code × decile ↔ class: codes with a scale have ten classes, the others one."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        sizes = [1, *(NUM_DECILES if entry.scale else 1 for entry in vocabulary.entries)]
        self.size = torch.tensor(sizes)
        self.first = _UNKNOWN + self.size.cumsum(0) - self.size  # by token; token 0 is unknown
        self.number = _UNKNOWN + sum(sizes)
        self.token = torch.arange(len(sizes)).repeat_interleave(self.size)  # of class - 1

    def of(self, batch: TimelineBatch) -> Tensor:
        """The class of every event of `batch`, `[N]`. A scaled code without a number is unknown."""
        token = batch.concept_token[batch.event_concept]
        position, _, is_number = batch.event_number.unbind(1)
        decile = position.floor().clamp(max=NUM_DECILES - 1).long()
        is_scaled = self.size.to(token.device)[token] > 1
        found = self.first.to(token.device)[token] + decile * is_scaled
        return torch.where(is_scaled & (is_number == 0), _UNKNOWN, found)

    def token_and_decile(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """The vocabulary's token (0: none) and the decile of each class."""
        token = self.token.to(classes.device)[(classes - _UNKNOWN).clamp(min=0)]
        return token, classes - self.first.to(classes.device)[token]


@dataclass(frozen=True, slots=True)
class Sequences:
    """Timelines as token sequences, padded at the end: the start, static facts, then events in order."""

    classes: Tensor  # B T
    day: Tensor  # B T, float64 since 1970; those before the first event are of its day
    is_event: Tensor  # B T: a bundle's event, not the start, a static fact or padding
    birth_day: Tensor  # B

    @property
    def num_before(self) -> Tensor:
        """How many tokens stand before the first event, `[B]`."""
        return (~self.is_event).cumprod(1).sum(1)

    def place(self, row: Tensor, day: Tensor) -> Tensor:
        """The last token known on `day` in sequence `row`."""
        known = self.is_event[row] & (self.day[row] <= day[:, None])
        return self.num_before[row].clamp(max=self.classes.shape[1]) - 1 + known.sum(1)


def sequences(batch: TimelineBatch, classes: Classes, max_events: int) -> Sequences:
    """The last `max_events` events of each timeline, behind the start and its static facts."""
    num, device = batch.num_timelines, batch.birth_day.device
    row = batch.event_row.clone()
    row[batch.static_event] = batch.static_row
    is_event = batch.event_bundle >= 0
    order = torch.argsort(2 * row + is_event, stable=True)
    row, is_event = row[order], is_event[order]
    counts = torch.bincount(row[is_event], minlength=num)
    rank = is_event.cumsum(0) - 1 - (counts.cumsum(0) - counts)[row]
    kept = torch.nonzero(~is_event | (rank >= (counts - max_events)[row])).squeeze(1)
    order, row, is_event = order[kept], row[kept], is_event[kept]
    total = torch.bincount(row, minlength=num)
    column = 1 + torch.arange(len(row), device=device) - (total.cumsum(0) - total)[row]
    shape = (num, 1 + int(total.max()) if len(row) else 1)
    day = torch.full(shape, torch.inf, dtype=torch.float64, device=device)
    day = day.index_put((row, column), batch.event_day[order])
    day = torch.where(day == -torch.inf, torch.inf, day)  # static facts have no day of their own
    first = day.amin(1, keepdim=True)
    placed = torch.full(shape, START, device=device)
    happened = torch.zeros(shape, dtype=torch.bool, device=device)
    happened = happened.index_put((row, column), is_event)
    return Sequences(
        placed.index_put((row, column), classes.of(batch)[order]),
        torch.where(happened, day, torch.nan_to_num(first, posinf=0.0)),
        happened,
        batch.birth_day,
    )


def wait_edges() -> Tensor:
    """Bounds of the bins of positive waits: logarithmic, the last without an end."""
    inner = torch.logspace(math.log10(_SHORTEST), math.log10(_LONGEST), NUM_WAITS - 1)
    return torch.cat([inner.new_zeros(1), inner]).double()


def wait_bin(wait: Tensor, edges: Tensor) -> Tensor:
    """0 where no time passed, otherwise the place of the bin counted from 1."""
    found = torch.bucketize(wait, edges[1:-1].to(wait.device)) + 1
    return torch.where(wait > 0, found, torch.zeros_like(found))


class Block(nn.Module):
    """Causal attention and a gated perceptron, both residual."""

    def __init__(self, config: NextEventConfig) -> None:
        super().__init__()
        width = config.width
        self.num_heads = config.num_attention_heads
        self.norm, self.mlp_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp_in, self.mlp_out = nn.Linear(width, 4 * width), nn.Linear(2 * width, width)
        self.dropout = Dropout(config.dropout)

    def heads(self, tokens: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, `[B, heads, T, d]`, queries and keys turned by their positions."""
        num, length, width = tokens.shape
        shape = (num, length, self.num_heads, width // self.num_heads)
        parts = self.qkv(self.norm(tokens)).chunk(3, dim=-1)
        query, key, value = (part.reshape(shape).transpose(1, 2) for part in parts)
        return turned(query, at), turned(key, at), value

    def after(self, tokens: Tensor, mixed: Tensor) -> Tensor:
        """The tokens, given what attention brought, `[B, heads, T, d]`."""
        tokens = tokens + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        left, right = self.mlp_in(self.mlp_norm(tokens)).chunk(2, dim=-1)
        changed: Tensor = tokens + self.dropout(self.mlp_out(nn.functional.silu(left) * right))
        return changed

    @override
    def forward(self, tokens: Tensor, at: Tensor) -> Tensor:
        query, key, value = self.heads(tokens, at)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.after(tokens, mixed)


def turned(vectors: Tensor, at: Tensor) -> Tensor:
    """Rotary positions: pairs of numbers turned by angles that grow with the position `at`, `[T]`."""
    half = vectors.shape[-1] // 2
    speed = 1e4 ** (-torch.arange(half, device=vectors.device) / max(1, half))
    angle = at.to(speed.dtype)[:, None] * speed
    cosine, sine = angle.cos(), angle.sin()
    left, right = vectors.chunk(2, dim=-1)
    return torch.cat([left * cosine - right * sine, left * sine + right * cosine], dim=-1)


class NextEvent(nn.Module):
    """The transformer, its input tables and its two heads."""

    edges: Tensor

    def __init__(self, config: NextEventConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config, self.classes = config, Classes(vocabulary)
        self.token = nn.Embedding(self.classes.number, config.width)
        self.clocks = nn.Linear(_NUM_CLOCKS, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.width)
        self.wait = nn.Linear(config.width, NUM_WAITS)
        self.waited = nn.Embedding(NUM_WAITS, config.width)
        self.bias = nn.Parameter(torch.zeros(self.classes.number))
        self.register_buffer("edges", wait_edges(), persistent=False)

    def settle(self) -> None:
        """Begin with small tables, for the input table is the output table, and quiet branches."""
        self.token.weight.mul_(0.3)
        self.waited.weight.mul_(0.1)
        for block in self.blocks:
            assert isinstance(block, Block)
            for last in (block.out, block.mlp_out):
                last.weight.mul_((2 * len(self.blocks)) ** -0.5)

    def sequences(self, batch: TimelineBatch) -> Sequences:
        """The timelines as this model reads them."""
        return sequences(batch, self.classes, self.config.max_events)

    def embed(
        self, classes: Tensor, wait: Tensor, elapsed: Tensor, day: Tensor, birth_day: Tensor
    ) -> Tensor:
        """Tokens `[B, T, D]`; `wait` and `elapsed` (since the first event) in units of the clock."""
        age = age_features(day.flatten(), birth_day[:, None].expand_as(day).flatten())
        clocks = [wait.log1p() / 4, (wait > 0).to(wait), elapsed.log1p() / 4]
        known = torch.cat([torch.stack(clocks, -1).float(), age.reshape(*day.shape, -1)], dim=-1)
        embedded: Tensor = self.token(classes) + self.clocks(known)
        return embedded

    def inputs(self, read: Sequences) -> Tensor:
        """The token vectors before the first block, `[B, T, D]`."""
        day, clock = read.day, self.config.clock_days
        wait = (day.diff(dim=1, prepend=day[:, :1]) / clock).clamp(min=0.0)
        elapsed = ((day - day[:, :1]) / clock).clamp(min=0.0)
        return self.embed(read.classes, wait, elapsed, day, read.birth_day)

    def hidden(self, read: Sequences) -> Tensor:
        """What the model has in mind after each token, `[B, T, D]`."""
        tokens = self.inputs(read)
        at = torch.arange(tokens.shape[1], device=tokens.device)
        for block in self.blocks:
            tokens = block(tokens, at)
        normed: Tensor = self.norm(tokens)
        return normed

    def class_logits(self, hidden: Tensor, waited: Tensor) -> Tensor:
        """Of the next class, given that its wait fell into bin `waited`; tied to the input table."""
        logits: Tensor = (hidden + self.waited(waited)) @ self.token.weight.T + self.bias
        return logits

    def states(self, batch: TimelineBatch, row: Tensor, day: Tensor) -> Tensor:
        """The final hidden state for each question, `[Q, D]`: what a probe may be put on."""
        read = self.sequences(batch)
        return self.hidden(read)[row, read.place(row, day)]

    def loss(self, batch: TimelineBatch) -> dict[str, Tensor]:
        """Mean negative log-likelihood of each next event's wait and class."""
        read = self.sequences(batch)
        hidden = self.hidden(read)[:, :-1]
        wait = read.day.diff(dim=1) / self.config.clock_days
        # Nothing is foretold before the first event: when a record begins is nobody's choice.
        counted = read.is_event[:, 1:] & read.is_event[:, :-1]
        hidden, wait, target = hidden[counted], wait[counted], read.classes[:, 1:][counted]
        waited = wait_bin(wait, self.edges)
        waits = nn.functional.cross_entropy(self.wait(hidden), waited)
        events = nn.functional.cross_entropy(self.class_logits(hidden, waited), target)
        return {"wait": waits, "class": events, "total": waits + events}


def sized_like(
    num_parameters: int, vocabulary: Vocabulary, config: NextEventConfig
) -> NextEventConfig:
    """`config` with the width whose number of parameters is nearest to `num_parameters`."""
    sizes = [replace(config, width=width) for width in range(*_widths(config))]
    above = bisect_left(sizes, num_parameters, key=lambda sized: num_weights(sized, vocabulary))
    return min(
        sizes[max(0, above - 1) : above + 1],
        key=lambda sized: abs(num_weights(sized, vocabulary) - num_parameters),
    )


def _widths(config: NextEventConfig) -> tuple[int, int, int]:
    step = 2 * config.num_attention_heads  # rotary positions turn pairs
    return step, 1025, step


def num_weights(config: NextEventConfig, vocabulary: Vocabulary) -> int:
    """How many parameters a model of this size has."""
    return sum(weight.numel() for weight in NextEvent(config, vocabulary).parameters())
