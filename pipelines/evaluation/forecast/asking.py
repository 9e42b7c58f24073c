"""Both models asked about one stay, from its record to its risk, with the seconds that it took."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.evaluation.baselines.next_event import NextEvent
from pipelines.evaluation.baselines.next_event_sampling import sample
from pipelines.evaluation.forecast.risks import LowValue, low_from_futures, low_from_quantiles


@dataclass(frozen=True, slots=True)
class Foretold:
    """By the world model: the probability of each head, and the seconds of the parts."""

    by_head: list[float]
    reading_s: float
    forecast_s: float

    @property
    def probability(self) -> float:
        """The mean of the heads."""
        return statistics.fmean(self.by_head)

    @property
    def seconds(self) -> float:
        """Reading the record and foretelling every window."""
        return self.reading_s + self.forecast_s


@dataclass(frozen=True, slots=True)
class Written:
    """By the transformer: the share of `num_useful` paths that had a value, and the seconds."""

    probability: float
    num_useful: int
    num_cut: int
    num_events: int
    seconds: float


def foretell(
    model: Jepa, vocabulary: Vocabulary, record: TimelineBatch, day: float, risk: LowValue
) -> Foretold:
    """Read the whole record and foretell every trained window; `record` must end at `day`."""
    began = time.perf_counter()
    row, asked = torch.zeros(1, dtype=torch.int64), torch.tensor([day], dtype=torch.float64)
    with torch.no_grad():
        encoded = model.encode(record)
        middle = time.perf_counter()
        bounds = torch.tensor(model.config.windows_days, dtype=torch.float32)[None]
        reading = model.read(record, encoded, row, asked)
        _, raw = model.forecast(reading, bounds)
    took = time.perf_counter()
    window = model.config.windows_days.index((risk.start_days, risk.end_days))
    by_head = low_from_quantiles(risk, vocabulary, raw.quantiles[0, window])
    return Foretold(by_head.tolist(), middle - began, took - middle)


def write(
    model: NextEvent,
    vocabulary: Vocabulary,
    record: TimelineBatch,
    day: float,
    risk: LowValue,
    *,
    num_paths: int,
    seed: int,
) -> Written:
    """Read the record and write `num_paths` futures to the end of the risk's window."""
    generator = torch.Generator().manual_seed(seed)
    began = time.perf_counter()
    read = model.sequences(record)
    futures = sample(model, read, day, risk.end_days, num_paths, generator)
    seconds = time.perf_counter() - began
    is_low, has = low_from_futures(risk, vocabulary, model.classes, futures)
    num = int(has.sum())
    # One path of belief in one half where there are few: no path, no knowledge.
    probability = float((is_low.sum() + 0.5) / (num + 1))
    events = int((futures.classes >= 0).sum())
    return Written(probability, num, futures.num_cut, events, seconds)


def operations(run: Callable[[], object]) -> int:
    """The floating-point operations of the matrix products in `run`, attention included."""
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        run()
    return int(counter.get_total_flops())
