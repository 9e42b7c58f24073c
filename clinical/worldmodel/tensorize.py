"""Timeline → tensors: the only door from events to the networks.

Knows how each field of an event becomes numbers, and that events which became known at one moment
make one bundle. Does not know what the networks do with them. Whoever calls it has cut the timeline:
everything that stands in it is read.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import torch
from torch import Tensor

from clinical.timeline.code import Code
from clinical.timeline.event import Event, EventKind, Flag, Origin, Phase, Role, Standing
from clinical.timeline.quantity import Quantity
from clinical.timeline.timeline import Known, Timeline
from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.concepts import MAX_PIECES, pieces
from clinical.worldmodel.families import FAMILIES, families_of
from clinical.worldmodel.shapes import SECONDS_PER_DAY
from clinical.worldmodel.statistics import NUM_RUNNING, Running
from clinical.worldmodel.tally import Tally
from clinical.worldmodel.vocabulary import Vocabulary

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {kind: number for number, kind in enumerate(EventKind)}
_PHASES = {phase: number for number, phase in enumerate(Phase)}
_STANDINGS = {standing: number for number, standing in enumerate(Standing)}
_ORIGINS = {origin: number for number, origin in enumerate(Origin)}
_ROLES = {role: number for number, role in enumerate(Role)}
_FLAGS = {flag: number for number, flag in enumerate(Flag)}
_MODALITIES = {"laboratory": 1, "vital-signs": 2}
ATTRIBUTE_SIZES = (len(_KINDS), len(_PHASES), len(_STANDINGS), len(_ORIGINS), len(_ROLES), 3)
ROLE_COLUMN, MODALITY_COLUMN = 4, 5
OBSERVATION = _ROLES[Role.OBSERVATION]
ACTION = _ROLES[Role.ACTION]
_WITHHELD, _BOUNDED, _TRUE = len(_FLAGS), len(_FLAGS) + 1, len(_FLAGS) + 2
NUM_FLAGS = len(_FLAGS) + 3


def day_of(moment: datetime) -> float:
    """Days since 1970-01-01 UTC, exact to the microsecond for four millennia."""
    return (moment - _EPOCH).total_seconds() / SECONDS_PER_DAY


class Tensorizer:
    """Reads timelines with one vocabulary, for a model whose clock counts in `clock_days`."""

    def __init__(self, vocabulary: Vocabulary, clock_days: float = 1.0) -> None:
        self.vocabulary = vocabulary
        self.clock_days = clock_days
        self.series = {key: place for place, key in enumerate(vocabulary.numeric)}
        self.families = {name: len(self.series) + place for place, name in enumerate(FAMILIES)}
        self.num_series = len(self.series) + len(self.families)
        self._pieces = {
            entry.code.key: pieces((entry.code,), vocabulary.num_buckets)
            for entry in vocabulary.entries
        }

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of what decides, beside the code, how an event becomes numbers."""
        said = f"{self.vocabulary.fingerprint}|{self.clock_days!r}"
        return hashlib.sha256(said.encode()).hexdigest()

    def timeline(self, timeline: Timeline) -> TimelineBatch:
        """One timeline as a batch of one."""
        return self.known(timeline.standing)[0]

    def known(
        self, standing: Sequence[Known], after: Tally | None = None
    ) -> tuple[TimelineBatch, Tally]:
        """Events in the order in which they became known, as a batch of one, and the tally after them.

        `after` is the tally of what was read before, so that a timeline can be read in pieces.
        """
        columns = _Columns(self, after or Tally())
        start = 0
        while start < len(standing):
            end = start
            while end < len(standing) and standing[end].at == standing[start].at:
                end += 1
            columns.add_bundle(standing[start].at, [known.event for known in standing[start:end]])
            start = end
        return columns.finish(), columns.tally

    def actions(self, events: Iterable[Event]) -> TimelineBatch:
        """Planned actions, each written as the event it would be, in the order given."""
        columns = _Columns(self, Tally())
        for event in events:
            columns.add_event(event, event.received_at, 0)
        return columns.finish()

    def pieces_of(self, codes: tuple[Code, ...]) -> tuple[int, ...]:
        """Hashed pieces; of a code that has a token, the words are those that training met."""
        known = self._pieces.get(codes[0].key)
        if known is None:
            return pieces(codes, self.vocabulary.num_buckets)
        more = pieces(codes[1:], self.vocabulary.num_buckets) if len(codes) > 1 else ()
        return (known + more)[:MAX_PIECES]


@dataclass(frozen=True, slots=True)
class _Number:
    bin_row: int
    position: float
    clipped: float
    standardised: float


class _Columns:
    """The columns of one timeline while it is read."""

    def __init__(self, tensorizer: Tensorizer, before: Tally) -> None:
        self._door = tensorizer
        self._before = before
        self.tally = before.copy()
        self._vocabulary = tensorizer.vocabulary
        self._concepts: dict[tuple[str, ...], int] = {("",): 0}
        self._concept_rows: list[tuple[int, int, tuple[int, ...]]] = [(0, 0, ())]
        self._touched: dict[int, None] = {}
        self._num_unseen = 0
        self._events: list[tuple[int, int, int, int]] = []  # concept, value concept, bin, bundle
        self._attributes: list[tuple[int, ...]] = []
        self._flags: list[tuple[int, ...]] = []
        self._numbers: list[tuple[float, float, float]] = []
        self._lags: list[float] = []
        self._read: list[Event] = []
        self._bundles: list[tuple[float, tuple[int, ...]]] = []
        self._values: list[tuple[int, int, float]] = []
        self._entries: list[tuple[int, int, list[float]]] = []
        self._static: list[int] = []

    def add_bundle(self, at: datetime, events: list[Event]) -> None:
        """The events that became known at one moment, in the timeline's own order."""
        day, bundle, counts = day_of(at), len(self._bundles), [0, 0, 0]
        for event in events:
            if event.role is Role.STATIC:
                self._add_static(event, at)
                continue
            number = self.add_event(event, at, bundle)
            self._follow(event, number, day)
            counts[_ROLES[event.role]] += 1
        if not any(counts):
            return
        for series in self._touched:
            self._entries.append((series, bundle, self.tally.running[series].numbers()))
        self._touched.clear()
        self.tally.last_day = day
        self._bundles.append((day, tuple(counts)))

    def add_event(self, event: Event, at: datetime, bundle: int) -> _Number | None:
        value, flags = event.value, [_FLAGS[flag] for flag in event.flags]
        number = self._number(event.code, value) if isinstance(value, Quantity) else None
        if isinstance(value, Quantity) and number is None:
            flags.append(_BOUNDED if value.comparator else _WITHHELD)
        if value is True:
            flags.append(_TRUE)
        codes = (event.code, *event.other_codes)
        answer = self._concept((value,)) if isinstance(value, Code) else 0
        row = number.bin_row if number else 0
        self._num_unseen += event.code.key not in self._vocabulary.tokens
        self._events.append((self._concept(codes), answer, row, bundle))
        self._attributes.append(_attributes(event))
        self._flags.append(tuple(flags))
        self._numbers.append((number.position, number.clipped, 1.0) if number else (0.0, 0.0, 0.0))
        self._lags.append(_log_lag(event, at))
        self._read.append(event)
        return number

    def _add_static(self, event: Event, at: datetime) -> None:
        # A patient's record happened at birth: that is when its facts began to hold.
        if event.occurred_at is not None:
            self.tally.birth_day = day_of(event.occurred_at.earliest)
        self._static.append(len(self._events))
        self.add_event(event, at, -1)

    def _number(self, code: Code, quantity: Quantity) -> _Number | None:
        scale = self._vocabulary.scales.get(code.key)
        value = scale.canonical(quantity) if scale is not None else None
        if scale is None or value is None or not math.isfinite(value):
            return None
        row = self._vocabulary.bin_rows.get(code.key, 0)
        return _Number(row, scale.position(value), scale.clipped(value), scale.standardised(value))

    def _follow(self, event: Event, number: _Number | None, day: float) -> None:
        place = len(self._events) - 1
        followed = [
            (self._door.families[family], 0.0)
            for family in families_of(event, self.tally.conditions)
        ]
        series = self._door.series.get(event.code.key)
        if series is not None and number is not None and event.standing is Standing.ASSERTED:
            followed.append((series, number.standardised))
        for index, value in followed:
            self.tally.running.setdefault(index, Running()).add(value, day / self._door.clock_days)
            self._touched[index] = None
            self._values.append((index, place, value))

    def _concept(self, codes: tuple[Code, ...]) -> int:
        key = tuple(code.key for code in codes)
        held = self._concepts.get(key)
        if held is None:
            held = self._concepts[key] = len(self._concept_rows)
            token = self._vocabulary.tokens.get(codes[0].key, 0)
            system = self._vocabulary.system_ids.get(codes[0].system, 0)
            self._concept_rows.append((token, system, self._door.pieces_of(codes)))
        return held

    def finish(self) -> TimelineBatch:
        """The columns as tensors."""
        num_events, num_bundles = len(self._events), len(self._bundles)
        events = torch.tensor(self._events, dtype=torch.int64).reshape(num_events, 4)
        entries = self._entries
        padded = [p + (0,) * (MAX_PIECES - len(p)) for _, _, p in self._concept_rows]
        counts = torch.tensor([c for _, c in self._bundles], dtype=torch.float32)
        return TimelineBatch(
            concept_token=_ints([token for token, _, _ in self._concept_rows]),
            concept_system=_ints([system for _, system, _ in self._concept_rows]),
            concept_pieces=torch.tensor(padded, dtype=torch.int64),
            event_concept=events[:, 0].contiguous(),
            event_value_concept=events[:, 1].contiguous(),
            event_attributes=torch.tensor(self._attributes, dtype=torch.int64).reshape(-1, 6),
            event_flags=_flag_table(self._flags),
            event_bin_row=events[:, 2].contiguous(),
            event_number=torch.tensor(self._numbers, dtype=torch.float32).reshape(-1, 3),
            event_lag=torch.tensor(self._lags, dtype=torch.float32),
            event_bundle=events[:, 3].contiguous(),
            bundle_row=torch.zeros(num_bundles, dtype=torch.int64),
            bundle_step=torch.arange(num_bundles),
            bundle_day=torch.tensor([day for day, _ in self._bundles], dtype=torch.float64),
            bundle_counts=counts.reshape(num_bundles, 3).log1p(),
            value_series=_ints([series for series, _, _ in self._values]),
            value_event=_ints([place for _, place, _ in self._values]),
            value_z=torch.tensor([z for _, _, z in self._values], dtype=torch.float32),
            running_series=_ints([series for series, _, _ in entries]),
            running_bundle=_ints([bundle for _, bundle, _ in entries]),
            running=torch.tensor([n for _, _, n in entries], dtype=torch.float64).reshape(
                -1, NUM_RUNNING
            ),
            static_event=_ints(self._static),
            static_row=torch.zeros(len(self._static), dtype=torch.int64),
            birth_day=torch.tensor([self.tally.birth_day], dtype=torch.float64),
            previous_day=torch.tensor([self._before.last_day], dtype=torch.float64),
            initial_running=self._before.table(self._door.num_series)[None],
            events=tuple(self._read),
            num_unseen=(self._num_unseen,),
            num_events=(num_events,),
        )


def _attributes(event: Event) -> tuple[int, ...]:
    return (
        _KINDS[event.kind],
        _PHASES[event.phase],
        _STANDINGS[event.standing],
        _ORIGINS[event.origin],
        _ROLES[event.role],
        _MODALITIES.get(event.category, 0),
    )


def _log_lag(event: Event, at: datetime) -> float:
    if event.occurred_at is None:
        return 0.0
    days = (at - event.occurred_at.latest).total_seconds() / SECONDS_PER_DAY
    return math.copysign(math.log1p(abs(days)), days)


def _ints(numbers: list[int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


def _flag_table(flags: list[tuple[int, ...]]) -> Tensor:
    table = torch.zeros(len(flags), NUM_FLAGS)
    places = [(row, column) for row, columns in enumerate(flags) for column in columns]
    if places:
        rows, columns = torch.tensor(places).unbind(1)
        table[rows, columns] = 1.0
    return table
