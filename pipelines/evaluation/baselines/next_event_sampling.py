"""Futures drawn from the next-event transformer, event by event, its keys and values kept.

What a generative model must do to say how likely something is: write the patient's future many times
and count. The history is read once; each step costs one token per path; paths that have reached the
horizon leave the batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipelines.evaluation.baselines.next_event import Block, NextEvent, Sequences

_ROOM = 128  # tokens by which the caches grow


@dataclass(frozen=True, slots=True)
class Futures:
    """Drawn paths: classes and days after the question, padded with class -1 and infinity.

    `num_cut` paths had not reached the horizon when `max_new` events were drawn.
    """

    classes: Tensor  # P n
    days: Tensor  # P n
    num_cut: int


class _Cache:
    """Keys and values of one block for the paths that are still being written."""

    def __init__(self, key: Tensor, value: Tensor, num_paths: int) -> None:
        self.length = key.shape[2]
        room = (num_paths, key.shape[1], self.length + _ROOM, key.shape[3])
        self.key, self.value = key.new_empty(room), value.new_empty(room)
        self.key[:, :, : self.length] = key
        self.value[:, :, : self.length] = value

    def add(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, these last."""
        if self.length == self.key.shape[2]:
            more = self.key.new_empty(*self.key.shape[:2], self.length, self.key.shape[3])
            self.key, self.value = torch.cat([self.key, more], 2), torch.cat([self.value, more], 2)
        self.key[:, :, self.length : self.length + 1] = key
        self.value[:, :, self.length : self.length + 1] = value
        self.length += 1
        return self.key[:, :, : self.length], self.value[:, :, : self.length]

    def keep(self, paths: Tensor) -> None:
        """Forget all other paths."""
        self.key, self.value = self.key[paths], self.value[paths]


@torch.no_grad()
def sample(
    model: NextEvent,
    read: Sequences,
    day: float,
    reach_days: float,
    num_paths: int,
    generator: torch.Generator,
    *,
    max_new: int = 2000,
) -> Futures:
    """Draw `num_paths` futures of the one patient of `read` from `day` on, for `reach_days`.

    Only what was known on `day` is read, and nothing may happen before `day`: the first wait is
    drawn given that it was longer than the time already passed.
    """
    writing = _Writing(model, read, day, num_paths, generator)
    classes, days, whose = [], [], []
    for _ in range(max_new):
        drawn = writing.next_event(reach_days)
        if drawn is None:
            break
        classes.append(drawn[0])
        days.append(drawn[1])
        whose.append(drawn[2])
    shape = (num_paths, len(classes))
    columns = [torch.full_like(paths, place) for place, paths in enumerate(whose)]
    futures = Futures(
        torch.full(shape, -1, device=read.day.device),
        torch.full(shape, torch.inf, dtype=torch.float64, device=read.day.device),
        len(writing.paths),
    )
    if classes:
        where = (torch.cat(whose), torch.cat(columns))
        futures.classes.index_put_(where, torch.cat(classes))
        futures.days.index_put_(where, torch.cat(days))
    return futures


class _Writing:
    """The paths still being written."""

    def __init__(
        self, model: NextEvent, read: Sequences, day: float, num: int, generator: torch.Generator
    ) -> None:
        self._model, self._generator, self._question = model, generator, day
        device = read.day.device
        row = torch.zeros(1, dtype=torch.int64, device=device)
        asked = torch.full((1,), day, dtype=torch.float64, device=device)
        length = int(read.place(row, asked)) + 1
        known = Sequences(
            read.classes[:1, :length],
            read.day[:1, :length],
            read.is_event[:1, :length],
            read.birth_day[:1],
        )
        self._caches, hidden = _read_history(model, known, num)
        self.paths = torch.arange(num, device=device)
        self._hidden = hidden.expand(num, -1)
        self._last = known.day[0, -1].expand(num)
        self._first, self._birth_day = known.day[0, 0], read.birth_day[:1]
        self._passed: float | None = max(0.0, day - float(known.day[0, -1]))

    def next_event(self, reach_days: float) -> tuple[Tensor, Tensor, Tensor] | None:
        """Classes, days after the question and paths of one more event each; None: all are done."""
        model, clock = self._model, self._model.config.clock_days
        least = None if self._passed is None else self._passed / clock
        wait, waited = draw_wait(model.wait(self._hidden), model.edges, self._generator, least)
        self._passed = None
        day = self._last + wait * clock
        self._drop(day - self._question <= reach_days, day, wait, waited)
        if not len(self.paths):
            return None
        logits = model.class_logits(self._hidden, self._waited)
        logits[:, 0] = -torch.inf  # nothing starts again
        classes = _draw(logits, self._generator)
        self._hidden = self._step(classes)
        return classes, self._last - self._question, self.paths

    def _drop(self, is_within: Tensor, day: Tensor, wait: Tensor, waited: Tensor) -> None:
        kept = torch.nonzero(is_within).squeeze(1)
        self._last, self._wait, self._waited = day[kept], wait[kept], waited[kept]
        if len(kept) < len(self.paths):
            self.paths, self._hidden = self.paths[kept], self._hidden[kept]
            for cache in self._caches:
                cache.keep(kept)

    def _step(self, classes: Tensor) -> Tensor:
        model = self._model
        elapsed = (self._last - self._first) / model.config.clock_days
        birth_day = self._birth_day.expand(len(classes))
        tokens = model.embed(
            classes[:, None], self._wait[:, None], elapsed[:, None], self._last[:, None], birth_day
        )
        at = torch.tensor([self._caches[0].length], device=classes.device)
        for block, cache in zip(model.blocks, self._caches, strict=True):
            assert isinstance(block, Block)
            query, key, value = block.heads(tokens, at)
            mixed = nn.functional.scaled_dot_product_attention(query, *cache.add(key, value))
            tokens = block.after(tokens, mixed)
        normed: Tensor = model.norm(tokens[:, 0])
        return normed


def _read_history(model: NextEvent, known: Sequences, num: int) -> tuple[list[_Cache], Tensor]:
    tokens = model.inputs(known)
    at = torch.arange(tokens.shape[1], device=tokens.device)
    caches = []
    for block in model.blocks:
        assert isinstance(block, Block)
        query, key, value = block.heads(tokens, at)
        caches.append(_Cache(key, value, num))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        tokens = block.after(tokens, mixed)
    return caches, model.norm(tokens[:, -1])


def draw_wait(
    logits: Tensor, edges: Tensor, generator: torch.Generator, least: float | None
) -> tuple[Tensor, Tensor]:
    """A wait and its bin for each row: log-uniform within the bin; longer than `least` where given."""
    lower, upper = edges[:-1], edges[1:]
    if least is not None:
        # Bin 0 is "at once"; bin b lies between edges b - 1 and b.
        closed = torch.cat([upper.new_ones(1, dtype=torch.bool), upper <= least])
        closed[-1] = False
        logits = logits.masked_fill(closed, -torch.inf)
        lower = lower.clamp(min=least)
    waited = _draw(logits, generator)
    place = (waited - 1).clamp(min=0)
    low, high = lower[place].clamp(min=1e-6), torch.maximum(upper, lower + 1e-6)[place]
    luck = torch.rand(low.shape, generator=generator, device=low.device, dtype=low.dtype)
    wait = low * (high / low) ** luck
    return torch.where(waited > 0, wait, torch.zeros_like(wait)), waited


def _draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """One draw per row by the Gumbel trick (Gumbel 1954)."""
    luck = torch.rand(logits.shape, generator=generator, device=logits.device)
    return (logits - (-luck.clamp(min=1e-20).log()).log()).argmax(-1)
