"""Values over the next day: each series' first value in each quarter of the 24 hours after the first 24.

The same target that the network's readouts have: the first value of a window, in standard deviations.
Knows the network's quantiles, persistence, and trees on the same summaries.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clinical.worldmodel.config import QUANTILES
from clinical.worldmodel.grounding import Lesson, outcomes
from clinical.worldmodel.jepa import Jepa
from pipelines.evaluation.baselines import trees
from pipelines.evaluation.figures import Floats
from pipelines.evaluation.icu.lessons import ADMISSION_DAY
from pipelines.evaluation.icu.splits import Split
from pipelines.evaluation.icu.stays import StaySet
from pipelines.evaluation.icu.summaries import summaries
from pipelines.icu.series import series as table_of_series

ASKED_HOUR = 24.0
FOLLOWED = ("HR", "SysABP", "MAP", "RespRate", "Temp", "GCS", "Urine", "K", "Creatinine", "HCT")
"""The series of the row, by the challenge's names: vital signs, and what is measured most in blood."""
TREES = trees.TreeConfig(num_trees=150, rate=0.06)
_LAST = 0
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Course:
    """What was measured, what was last known, and what the network says: `[n, windows, series, …]`."""

    truth: Floats
    last: Floats  # [n, series]
    quantiles: Floats

    def arrays(self) -> dict[str, Floats]:
        """By name, to be kept."""
        return {"truth": self.truth, "last": self.last, "quantiles": self.quantiles}


def places_of_series(stays: StaySet) -> dict[str, int]:
    """The place of each followed series that the vocabulary foretells."""
    numeric = {key: place for place, key in enumerate(stays.vocabulary.numeric)}
    known = table_of_series()
    return {
        name: numeric[known[name].code.key] for name in FOLLOWED if known[name].code.key in numeric
    }


@torch.no_grad()
def course(model: Jepa, stays: StaySet, places: Tensor) -> Course:
    """What the network says of the stays at `places` after their first day, and what was then measured."""
    series = list(places_of_series(stays).values())
    bounds = torch.tensor(model.config.windows_days, dtype=torch.float32)
    truth, last, quantiles = [], [], []
    for chunk in torch.split(places, _AT_ONCE):
        num = len(chunk)
        batch, row = stays.joined(chunk.tolist()), torch.arange(num)
        lesson = Lesson(
            context=batch,
            row=row,
            day=torch.full((num,), ADMISSION_DAY + ASKED_HOUR / 24, dtype=torch.float64),
            future=batch,
            future_row=row,
            may_enter=torch.ones(len(batch.event_concept), dtype=torch.bool),
            bounds=bounds.expand(num, -1, -1),
            followed_days=torch.full((num,), 1.0),
            bootstrap=torch.ones(num, model.config.num_heads),
        )
        reading = model.read(batch, model.encode(batch), row, lesson.day)
        _, raw = model.forecast(reading, lesson.bounds)
        found = outcomes(model, lesson, torch.zeros(0, dtype=torch.int64))
        truth.append(found.values[..., series].double())
        known = reading.features[:, series]
        last.append(torch.where(known[..., -1] > 0, known[..., _LAST], torch.nan).double())
        quantiles.append(raw.quantiles[..., series, :].mean(2).double())
    return Course(*(torch.cat(each).numpy() for each in (truth, last, quantiles)))


def tree_medians(split: Split, learned: Course, asked: Course) -> Floats:
    """`[n, windows, series]` by one ensemble for each window and series, on the summaries of the first day."""
    known = summaries(split.learned, ASKED_HOUR, split.places)
    given = summaries(split.asked, ASKED_HOUR, split.asked_places)
    medians = np.full(asked.truth.shape, np.nan)
    for window, series in np.ndindex(asked.truth.shape[1:]):
        values, last = learned.truth[:, window, series], learned.last[:, series]
        rows = np.isfinite(values) & np.isfinite(last)
        if rows.sum() < 2 * TREES.min_leaf:
            medians[:, window, series] = asked.last[:, series]
            continue
        # What changes since the last value: trees need not learn to copy it.
        change = trees.quantities(known[rows], (values - last)[rows], given, config=TREES)
        medians[:, window, series] = asked.last[:, series] + change
    return medians


def crps(quantiles: Floats, truth: Floats) -> Floats:
    """Twice the mean pinball loss over the quantiles: the continuous ranked probability score, by five levels."""
    gap = truth[..., None] - quantiles
    levels = np.array(QUANTILES)
    loss: Floats = 2 * np.maximum(levels * gap, (levels - 1) * gap).mean(-1)
    return loss


def value_weight(asked: Course, medians: Floats) -> float:
    """The share of the network in its mean with trees that errs least, by tenths."""
    shares = np.linspace(0, 1, 11)
    median = asked.quantiles[..., len(QUANTILES) // 2]
    errors = [
        float(skills(asked, share * median + (1 - share) * medians)[0].mean()) for share in shares
    ]
    return float(shares[int(np.argmax(errors))])


def skills(
    asked: Course, said: Floats, weights: Floats | None = None
) -> tuple[Floats, NDArray[np.bool_]]:
    """Skill over persistence in mean absolute error, `[b, series]`, for weighted rows; and which were measured.

    Windows of a series are taken together; a row counts where a value was measured and one was known.
    """
    weights = np.ones((1, len(asked.truth))) if weights is None else weights
    last = np.broadcast_to(asked.last[:, None], asked.truth.shape)
    counted = np.isfinite(asked.truth) & np.isfinite(last)
    ours = np.where(counted, np.abs(said - asked.truth), 0.0).sum(1)
    theirs = np.where(counted, np.abs(last - asked.truth), 0.0).sum(1)
    found: Floats = 1 - (weights @ ours) / np.maximum(weights @ theirs, 1e-12)
    is_measured = np.asarray(counted.any(axis=(0, 1)), dtype=np.bool_)
    return found, is_measured
