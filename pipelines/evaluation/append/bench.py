"""`clinical bench append`: the cost of one more bundle after 100 to 100,000 events of history.

Timed interleaved, one thread: reading the bundle into tensors with the tally, one step of the memory,
and reading the patient's state; beside it a transformer of the same size that keeps its keys and values.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import nn

from adapters.clock import SystemClock
from clinical.timeline.timeline import Known
from clinical.worldmodel.checkpoint import load
from clinical.worldmodel.inference import Inference
from clinical.worldmodel.jepa import Jepa, Remembered
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.tally import Tally
from clinical.worldmodel.tensorize import Tensorizer, day_of
from pipelines.evaluation.baselines.next_event import (
    Block,
    NextEvent,
    NextEventConfig,
    sized_like,
)
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured
from pipelines.training.patients import sample_timelines

COMMAND = "clinical bench append"
LENGTHS = (100, 1_000, 10_000, 100_000)
_BLOCK = 2_000  # events read at once while a history is built
_WARM_UP = 10
_LONGEST_DAYS = 365 * 7000
_LEAST_APPENDED = 4  # events
_RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class History:
    """What is kept of `num_events` events, and the bundle that comes next."""

    num_events: int
    remembered: Remembered
    tally: Tally
    following: list[Known]


def run(
    checkpoint: Path,
    *,
    lengths: Sequence[int] = LENGTHS,
    repetitions: int,
    say: Callable[[str], None],
) -> list[BenchmarkRow]:
    """Measure; the row `append.flatness`."""
    torch.set_num_threads(1)
    inference = load(checkpoint)
    say("Writing a long record …")
    record = endless(max(lengths) + _BLOCK)
    histories = []
    for length in lengths:
        say(f"Reading {length:,} events …")
        histories.append(history_of(inference.model, inference.tensorizer, record, length))
    transformer = Transformer(inference, max(lengths))
    ours: dict[int, list[float]] = {length: [] for length in lengths}
    theirs: dict[int, list[float]] = {length: [] for length in lengths}
    for number in range(_WARM_UP + repetitions):
        say(f"Appending, {number} of {_WARM_UP + repetitions} …")
        for history in histories:
            took = _timed(lambda h=history: append(inference.model, inference.tensorizer, h))  # type: ignore[misc]
            beside = _timed(lambda h=history: transformer.append(h))  # type: ignore[misc]
            if number >= _WARM_UP:
                ours[history.num_events].append(took)
                theirs[history.num_events].append(beside)
    return [_row(ours, theirs, len(histories[0].following), inference, transformer)]


def endless(num_events: int) -> list[Known]:
    """A record of at least this many events: a sample patient's visits, again and again, later each time."""
    timelines, _ = sample_timelines()
    once = max((timeline.standing for timeline in timelines), key=len)
    span = once[-1].at - once[0].at + timedelta(days=30)
    # Shortened so that many lives fit into the years that a date can have.
    num_lives = num_events // len(once) + 1
    pace = min(1.0, _LONGEST_DAYS / (num_lives * (span.days + 1)))
    record: list[Known] = []
    while len(record) < num_events:
        later = len(record) // len(once) * span
        record += [
            known._replace(at=once[0].at + (known.at - once[0].at + later) * pace) for known in once
        ]
    return record


@torch.no_grad()
def history_of(
    model: Jepa, tensorizer: Tensorizer, record: Sequence[Known], num_events: int
) -> History:
    """What is kept after the bundles of about `num_events` events."""
    end = bundle_end(record, num_events)
    tally, remembered, start = Tally(), None, 0
    while start < end:
        stop = min(end, bundle_end(record, start + _BLOCK))
        batch, tally = tensorizer.known(record[start:stop], tally)
        remembered, start = model.encode(batch, remembered).remembered, stop
    assert remembered is not None
    next_at = record[end - 1].at + timedelta(days=30)
    following = [known._replace(at=next_at) for known in visit_of(record)]
    return History(num_events, remembered, tally, following)


def visit_of(record: Sequence[Known]) -> Sequence[Known]:
    """The first bundle of some size: the same one is appended to every history."""
    start = 0
    while start < len(record):
        end = bundle_end(record, start + 1)
        if end - start >= _LEAST_APPENDED:
            return record[start:end]
        start = end
    return record[:1]


def bundle_end(record: Sequence[Known], place: int) -> int:
    """The first place at or after `place` at which a bundle ends."""
    while place < len(record) and record[place].at == record[place - 1].at:
        place += 1
    return place


@torch.no_grad()
def append(model: Jepa, tensorizer: Tensorizer, history: History) -> torch.Tensor:
    """The state after one more bundle."""
    batch, _ = tensorizer.known(history.following, history.tally)
    encoded = model.encode(batch, history.remembered)
    day = torch.tensor([day_of(history.following[-1].at)], dtype=torch.float64)
    return model.read(batch, encoded, torch.zeros(1, dtype=torch.int64), day).state


class Transformer:
    """A next-event transformer of the size of a model, its keys and values kept for `longest` tokens.

    What they hold does not matter to the time: they are drawn at random instead of read.
    """

    def __init__(self, inference: Inference, longest: int) -> None:
        vocabulary = inference.tensorizer.vocabulary
        wanted = sum(weight.numel() for weight in inference.model.parameters())
        config = sized_like(wanted, vocabulary, NextEventConfig())
        generator = torch.Generator().manual_seed(0)
        self.model = NextEvent(config, vocabulary).eval().requires_grad_(requires_grad=False)
        initialise(self.model, generator)
        heads = config.num_attention_heads
        shape = (config.num_layers, 2, 1, heads, longest + 1_000, config.width // heads)
        self._kept = torch.randn(shape, generator=generator)
        self._tensorizer = inference.tensorizer

    @torch.no_grad()
    def append(self, history: History) -> torch.Tensor:
        """The hidden state after the events of one more bundle."""
        batch, _ = self._tensorizer.known(history.following, history.tally)
        classes = self.model.classes.of(batch)[None]
        num = classes.shape[1]
        nothing = torch.zeros(1, num)
        day = torch.full((1, num), day_of(history.following[-1].at), dtype=torch.float64)
        birth_day = torch.tensor([history.tally.birth_day], dtype=torch.float64)
        tokens = self.model.embed(classes, nothing, nothing, day, birth_day)
        length = history.num_events
        at = torch.arange(length, length + num)
        for block, kept in zip(self.model.blocks, self._kept, strict=True):
            assert isinstance(block, Block)
            query, key, value = block.heads(tokens, at)
            kept[:, :, :, length : length + num] = torch.stack([key, value])
            keys, values = kept[:, :, :, : length + num]
            # The events of one bundle see each other: a mask would only make it dearer.
            mixed = nn.functional.scaled_dot_product_attention(query, keys, values)
            tokens = block.after(tokens, mixed)
        return tokens[:, -1]


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _row(
    ours: dict[int, list[float]],
    theirs: dict[int, list[float]],
    num_appended: int,
    inference: Inference,
    transformer: Transformer,
) -> BenchmarkRow:
    value, interval = flatness(ours)
    beside, _ = flatness(theirs)
    sizes = [
        sum(weight.numel() for weight in model.parameters())
        for model in (inference.model, transformer.model)
    ]
    steps = {
        f"{name} after {length:,} events": statistics.median(seconds)
        / statistics.median(ours[min(ours)])
        for name, times in (("ours", ours), ("transformer", theirs))
        for length, seconds in times.items()
    }
    return measured(
        clock=SystemClock(),
        id="append.flatness",
        value=value,
        unit="x",
        better=Better.LOWER,
        goal=1.2,
        interval=interval,
        baselines={"transformer, the same ratio": beside} | steps,
        n=len(ours[min(ours)]),
        command=COMMAND,
        note=(
            f"Median time of one more bundle ({num_appended} events) after {max(ours):,} events, over "
            f"that after {min(ours):,}: into tensors with the tally, one step of the memory, the "
            "state read. A sample patient's record again and again; interleaved, one thread, "
            "95 % bootstrap interval. Beside it a transformer with kept keys and values "
            f"({sizes[1]:,} against {sizes[0]:,} parameters), and all times over ours after "
            f"{min(ours):,}."
        ),
    )


def flatness(times: dict[int, list[float]]) -> tuple[float, tuple[float, float]]:
    """The median after the longest history over that after the shortest, with its 95 % interval."""
    short, long = (np.asarray(times[length]) for length in (min(times), max(times)))
    generator = np.random.default_rng(0)
    ratios = [
        np.median(generator.choice(long, long.size))
        / np.median(generator.choice(short, short.size))
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(np.median(long) / np.median(short)), (float(low), float(high))
