"""Many courses as tensors at once: what the `Tensorizer` makes of their events, without the events.

Held to the tensorizer by a test. Knows the kinds of event of `records.py` and nothing of models.
"""

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clinical.timeline.event import EventKind
from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.statistics import NUM_RUNNING
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.evaluation.tumour import records
from pipelines.evaluation.tumour.records import START_DAY
from pipelines.evaluation.tumour.simulator import Courses, Floats

_SERIES = (records.VOLUME, *records.CHANGES)
_TREATMENTS = (records.CHEMO, records.RADIO)
_CODES = (*_SERIES, *_TREATMENTS, *records.TYPES)
_CLIP = 5.0


def prototypes(tensorizer: Tensorizer) -> TimelineBatch:
    """One event of each kind, in the order of `_CODES`: what all events of that kind share."""
    kinds = {
        records.CHEMO: EventKind.MEDICATION_ADMINISTRATION,
        records.RADIO: EventKind.PROCEDURE,
        **dict.fromkeys(records.TYPES, EventKind.PATIENT),
    }
    patient, _ = records.events_of(_NOBODY, 0)
    made = [
        records.event_of(patient, kinds.get(code, EventKind.OBSERVATION), code, 0, None)
        for code in _CODES
    ]
    return tensorizer.actions(made)


_NOBODY = Courses(
    np.ones((1, 1)),
    np.zeros((1, 1), dtype=np.bool_),
    np.zeros((1, 1), dtype=np.bool_),
    np.zeros(1, dtype=np.int64),
    np.ones(1, dtype=np.int64),
    np.zeros(1, dtype=np.bool_),
)


class Cohort:
    """The records of `n` courses, any of which can be had as a batch."""

    def __init__(self, courses: Courses, tensorizer: Tensorizer) -> None:
        self.courses = courses
        self._tensorizer = tensorizer
        self._kinds = prototypes(tensorizer)
        days = np.arange(courses.volume.shape[1])
        on_record = days <= courses.last[:, None]
        later = on_record & (days > 0)
        shifted = [
            np.pad(given, ((0, 0), (1, 0)))[:, :-1] for given in (courses.chemo, courses.radio)
        ]
        given = np.pad(records.given_of(courses), ((0, 0), (1, 0)))[:, :-1]
        after = [later & (given == number) for number in range(len(records.CHANGES))]
        self._is_there = np.stack(
            [on_record, *after, shifted[0] & later, shifted[1] & later], axis=2
        )
        change = np.pad(records.change_of(courses.volume), ((0, 0), (1, 0)))
        values = [courses.volume] + [change] * len(after)
        scales = tensorizer.vocabulary.scales
        columns = [
            records.column_of(numbers, there, scales[code.key])
            for numbers, there, code in zip(values, (on_record, *after), _SERIES, strict=True)
        ]
        self._z = np.stack([column.z for column in columns], axis=2)
        self._position = np.stack([column.position for column in columns], axis=2)
        self._running = np.stack([column.running for column in columns], axis=2)
        self._series = np.array([tensorizer.series[code.key] for code in _SERIES])

    def __len__(self) -> int:
        return len(self.courses)

    @cached_property
    def _bin_rows(self) -> NDArray[np.int64]:
        rows = self._tensorizer.vocabulary.bin_rows
        return np.array([rows[code.key] for code in _SERIES] + [0] * len(_TREATMENTS))

    def batch(self, rows: NDArray[np.int64]) -> TimelineBatch:
        """The whole records of some patients, in this order."""
        there = self._is_there[rows]
        row, day, slot = np.nonzero(there)
        is_value = slot < len(_SERIES)
        step = day.astype(np.int64)
        lengths = self.courses.last[rows] + 1
        starts = np.cumsum(lengths) - lengths
        bundle = starts[row] + step
        place = (rows[row], day, np.minimum(slot, len(_SERIES) - 1))
        number = np.stack([self._position[place], self._clipped(place), np.ones(len(row))], axis=1)
        bundle_row = np.repeat(np.arange(len(rows)), lengths)
        bundle_step = np.arange(lengths.sum()) - starts[bundle_row]
        static = len(_SERIES) + len(_TREATMENTS) + self.courses.kind[rows] - 1
        kind = np.concatenate([slot, static])
        value = np.nonzero(is_value)[0]
        padding = np.zeros(len(rows), dtype=np.int64)
        num_values = [int(n) for n in there.sum(axis=(1, 2)) + 1]
        return TimelineBatch(
            concept_token=self._kinds.concept_token,
            concept_system=self._kinds.concept_system,
            concept_pieces=self._kinds.concept_pieces,
            event_concept=self._kinds.event_concept[kind],
            event_value_concept=_ints(np.zeros(len(kind))),
            event_attributes=self._kinds.event_attributes[kind],
            event_flags=self._kinds.event_flags[kind],
            event_bin_row=_ints(np.concatenate([self._bin_rows[slot], padding])),
            event_number=_floats(
                np.concatenate([number * is_value[:, None], np.zeros((len(rows), 3))])
            ),
            event_lag=torch.zeros(len(kind)),
            event_bundle=_ints(np.concatenate([bundle, padding - 1])),
            bundle_row=_ints(bundle_row),
            bundle_step=_ints(bundle_step),
            bundle_day=torch.from_numpy(START_DAY + bundle_step.astype(np.float64)),
            bundle_counts=self._counts(there, bundle_row, bundle_step),
            value_series=_ints(self._series[slot[value]]),
            value_event=_ints(value),
            value_z=_floats(self._z[rows[row[value]], day[value], slot[value]]),
            running_series=_ints(self._series[slot[value]]),
            running_bundle=_ints(bundle[value]),
            running=torch.from_numpy(self._running[rows[row[value]], day[value], slot[value]]),
            static_event=_ints(len(row) + np.arange(len(rows))),
            static_row=_ints(np.arange(len(rows))),
            birth_day=torch.full((len(rows),), torch.nan, dtype=torch.float64),
            previous_day=torch.full((len(rows),), torch.nan, dtype=torch.float64),
            initial_running=torch.zeros(
                len(rows), self._tensorizer.num_series, NUM_RUNNING, dtype=torch.float64
            ),
            events=(),
            num_unseen=(0,) * len(rows),
            num_events=tuple(num_values),
        )

    def _clipped(self, place: tuple[NDArray[np.int64], ...]) -> Floats:
        clipped: Floats = self._z[place].clip(-_CLIP, _CLIP)
        return clipped

    def _counts(
        self, there: NDArray[np.bool_], row: NDArray[np.int64], step: NDArray[np.int64]
    ) -> Tensor:
        observed = there[:, :, : len(_SERIES)].sum(axis=2)[row, step]
        done = there[:, :, len(_SERIES) :].sum(axis=2)[row, step]
        counts = np.stack([np.zeros_like(observed), observed, done], axis=1)
        return _floats(counts).log1p()


def _ints(numbers: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(numbers.astype(np.int64))


def _floats(numbers: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(numbers.astype(np.float32))
