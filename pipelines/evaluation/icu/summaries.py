"""What a table of summaries says of a stay at some hour: 7 numbers of each series, and who the patient is.

The features of boosted trees and of the plain regressions. They come from the running statistics that
a timeline carries, so every competitor reads the same events.
"""

import numpy as np
import torch
from torch import Tensor

from clinical.worldmodel.batch import running_at
from clinical.worldmodel.shapes import DAYS_PER_YEAR
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.evaluation.figures import Floats
from pipelines.evaluation.icu.lessons import ADMISSION_DAY
from pipelines.evaluation.icu.stays import StaySet

_COUNT, _MEAN, _M2, _LOW, _HIGH, _FIRST, _LAST = range(7)
LAST_BLOCK = 0  # of the seven blocks of columns, one column a series: the last values come first


def summaries(stays: StaySet, hour: float, places: Tensor | None = None) -> Floats:
    """`[n, 7 S + d]`: last, first, mean, min, max, sd and count of each series by `hour`; who it is.

    nan where a series was not measured. Values are in standard deviations of the vocabulary's scale.
    """
    places = torch.arange(len(stays)) if places is None else places
    batch = stays.joined(places.tolist())
    row = torch.arange(len(places))
    day = torch.full((len(places),), ADMISSION_DAY + hour / 24, dtype=torch.float64)
    place = torch.bincount(
        batch.bundle_row[batch.bundle_day <= day[batch.bundle_row]], minlength=len(places)
    )
    running = running_at(batch, row, place)[:, : len(stays.vocabulary.numeric)]
    count = running[..., _COUNT]
    sd = (running[..., _M2].clamp(min=0.0) / count.clamp(min=1.0)).sqrt()
    columns = [running[..., which] for which in (_LAST, _FIRST, _MEAN, _LOW, _HIGH)]
    blocks = [torch.where(count > 0, column, torch.nan) for column in (*columns, sd)]
    known = demographics(stays, places)
    return np.concatenate([torch.cat([*blocks, count], dim=1).numpy(), known], axis=1)


def demographics(stays: StaySet, places: Tensor) -> Floats:
    """`[n, 2 + …]`: age in years, and how often each code without a number was said (sex, unit, ventilation)."""
    batch = stays.joined(places.tolist())
    age = (ADMISSION_DAY - batch.birth_day) / DAYS_PER_YEAR
    tokens = _unnumbered(stays.vocabulary)
    row = batch.event_row.clone()
    row[batch.static_event] = batch.static_row
    said = batch.concept_token[batch.event_concept]
    counts = [
        torch.bincount(row[said == token], minlength=len(places)).double() for token in tokens
    ]
    table: Floats = torch.stack([age, *counts], dim=1).numpy()
    return table


def _unnumbered(vocabulary: Vocabulary) -> list[int]:
    return [token for token, entry in enumerate(vocabulary.entries, start=1) if entry.scale is None]
