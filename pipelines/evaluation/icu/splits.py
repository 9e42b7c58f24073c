"""Who is learned from and who is asked: the folds of the training set, and training set → test set.

A split holds no outcome of anybody who is asked, so nothing that is computed from a split can have
seen one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipelines.evaluation.figures import Floats
from pipelines.evaluation.icu.finetuning import Taught
from pipelines.evaluation.icu.scales import with_scales_of
from pipelines.evaluation.icu.stays import StaySet
from pipelines.icu.challenge import StayOutcome


@dataclass(frozen=True)
class Split:
    """Stays to learn from, with their outcomes, and stays to be asked about, without."""

    name: str
    learned: StaySet
    places: Tensor  # of those learned from, in `learned`
    taught: Taught  # a row for each of `places`
    asked: StaySet
    asked_places: Tensor

    @property
    def died(self) -> Floats:
        """The outcome of those learned from."""
        return self.taught.died.numpy().astype(np.float64)


def whole(learned: StaySet, taught: Taught, asked: StaySet) -> Split:
    """Learn from all of one set, ask about all of another; both read by the scales of the first."""
    return Split(
        "whole", learned, torch.arange(len(learned)), taught, asked, torch.arange(len(asked))
    )


def fold(stays: StaySet, taught: Taught, held_out: Tensor, name: str) -> Split:
    """Learn from all but the stays at `held_out`, by scales of their own; ask about those."""
    is_held = torch.zeros(len(stays), dtype=torch.bool)
    is_held[held_out] = True
    places = torch.nonzero(~is_held).squeeze(1)
    own = with_scales_of(stays, places)
    return Split(name, own, places, rows_of(taught, places), own, held_out)


def folds_of(died: Floats, num_folds: int, seed: int) -> list[Tensor]:
    """The places held out by each fold; each has its share of those who died."""
    generator = np.random.default_rng(seed)
    number = np.zeros(len(died), dtype=np.int64)
    for had in (0.0, 1.0):
        members = generator.permutation(np.flatnonzero(died == had))
        number[members] = np.arange(len(members)) % num_folds
    return [torch.from_numpy(np.flatnonzero(number == k)) for k in range(num_folds)]


def rows_of(taught: Taught, places: Tensor) -> Taught:
    """What is taught of the stays at `places`."""
    return Taught(taught.died[places], taught.beside[places])


def taught_by(outcomes: list[StayOutcome]) -> Taught:
    """Death in hospital; beside it length of stay, the severity scores and a death after discharge."""
    died = torch.tensor([float(outcome.died_in_hospital) for outcome in outcomes])
    numbers = [
        [
            np.log1p(o.length_of_stay_days) if o.length_of_stay_days is not None else np.nan
            for o in outcomes
        ],
        [np.nan if o.saps is None else o.saps for o in outcomes],
        [np.nan if o.sofa is None else o.sofa for o in outcomes],
    ]
    columns = [_standardised(torch.tensor(column, dtype=torch.float32)) for column in numbers]
    later = [float(o.survival_days is not None and not o.died_in_hospital) for o in outcomes]
    return Taught(died, torch.stack([*columns, torch.tensor(later)], dim=1))


def _standardised(column: Tensor) -> Tensor:
    known = column[~torch.isnan(column)]
    if len(known) < 2:
        return torch.full_like(column, torch.nan)
    return (column - known.mean()) / known.std().clamp(min=1e-6)
