"""Stays as tensors, read once: the tables of a set lie in one file, and a stay is a slice of them.

Knows how a set is read, kept and cut into stays. Outcomes are no part of it: who may see them is the
table's affair.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from adapters.units import conversion
from clinical.worldmodel.batch import COUNTS_INTO, TimelineBatch, join
from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.fitting import FitConfig, fit
from clinical.worldmodel.tensorize import Tensorizer
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.icu.challenge import read_stays

# The table that each field of a batch has its rows in, by a field that counts them.
_TABLES = {
    "concept_token": ("concept_token", "concept_system", "concept_pieces"),
    "event_concept": (
        "event_concept",
        "event_value_concept",
        "event_attributes",
        "event_flags",
        "event_bin_row",
        "event_number",
        "event_lag",
        "event_bundle",
    ),
    "bundle_day": ("bundle_row", "bundle_step", "bundle_day", "bundle_counts"),
    "value_event": ("value_series", "value_event", "value_z"),
    "running_bundle": ("running_series", "running_bundle", "running"),
    "static_event": ("static_event", "static_row"),
    "birth_day": ("birth_day", "previous_day", "initial_running"),
}
_FIELDS = tuple(name for names in _TABLES.values() for name in names)


@dataclass(frozen=True)
class StaySet:
    """The stays of one set, in the order of their record ids, as one vocabulary reads them."""

    record_ids: tuple[str, ...]
    whole: TimelineBatch  # all of them
    sizes: Tensor  # int64 [stays, tables]: how many rows of each of `_TABLES` are a stay's
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.record_ids)

    @property
    def num_events(self) -> int:
        """How many events all stays have."""
        return sum(self.whole.num_events)

    @cached_property
    def batches(self) -> tuple[TimelineBatch, ...]:
        """Each stay as a batch of one; slices of `whole`."""
        starts = (self.sizes.cumsum(0) - self.sizes).tolist()
        return tuple(
            self._slice(place, dict(zip(_TABLES, begins, strict=True)), lengths)
            for place, (begins, lengths) in enumerate(zip(starts, self.sizes.tolist(), strict=True))
        )

    def _slice(self, place: int, starts: dict[str, int], lengths: list[int]) -> TimelineBatch:
        columns: dict[str, Any] = {}
        for (table, names), length in zip(_TABLES.items(), lengths, strict=True):
            for name in names:
                column = getattr(self.whole, name).narrow(0, starts[table], length)
                if name in COUNTS_INTO:
                    column = torch.where(column >= 0, column - starts[COUNTS_INTO[name]], column)
                columns[name] = column
        return TimelineBatch(
            **columns,
            events=(),
            num_unseen=self.whole.num_unseen[place : place + 1],
            num_events=self.whole.num_events[place : place + 1],
        )

    def joined(self, places: Sequence[int]) -> TimelineBatch:
        """Some of the stays as one batch, in this order."""
        return join([self.batches[place] for place in places])


def read_set(
    archive: Path, model: ModelConfig, fitting: FitConfig, vocabulary: Vocabulary | None = None
) -> StaySet:
    """The set in `archive`; without a `vocabulary` one is fitted to it. Reads no outcome."""
    stays = read_stays(archive)
    if vocabulary is None:
        vocabulary = fit((stay.timeline for stay in stays), conversion, config=fitting)
    tensorizer = Tensorizer(vocabulary, model.clock_days)
    batches = [replace(tensorizer.timeline(stay.timeline), events=()) for stay in stays]
    sizes = [[len(getattr(batch, table)) for table in _TABLES] for batch in batches]
    return StaySet(
        tuple(stay.record_id for stay in stays), join(batches), torch.tensor(sizes), vocabulary
    )


_ROOT = Path(__file__).parents[3]
_READ_BY = (
    *("challenge.py", "series.py", "series.csv"),
    *(f"{name}.py" for name in ("fitting", "vocabulary", "tensorize", "statistics", "batch")),
)


def kept(path: Path, archive: Path, read: Callable[[], StaySet]) -> StaySet:
    """What `read` makes of `archive`, kept beside `path`, from where it is taken the next time.

    Its name ends in a digest of the archive and of the sources by which it is read: a set that older
    code had read would be compared with networks that learned from another record.
    """
    digest = hashlib.sha256()
    files = [archive] if archive.is_file() else sorted(archive.rglob("*.txt"))
    rooms = (_ROOT / "pipelines" / "icu", _ROOT / "clinical" / "worldmodel")
    sources = [file for room in rooms for name in _READ_BY if (file := room / name).exists()]
    for file in (*files, *sources):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    path = path.with_stem(f"{path.stem}-{digest.hexdigest()[:12]}")
    if not path.exists():
        _save(read(), path)
    return _load(path)


def _save(stays: StaySet, path: Path) -> None:
    whole = stays.whole
    tensors = {name: getattr(whole, name).contiguous() for name in _FIELDS}
    tensors |= {"sizes": stays.sizes, "num_unseen": torch.tensor(whole.num_unseen)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    facts = {"records": " ".join(stays.record_ids), "vocabulary": stays.vocabulary.to_json()}
    save_file(tensors, partial, metadata=facts)
    partial.replace(path)


def _load(path: Path) -> StaySet:
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    sizes = tensors["sizes"]
    whole = TimelineBatch(
        **{name: tensors[name] for name in _FIELDS},
        events=(),
        num_unseen=tuple(tensors["num_unseen"].tolist()),
        num_events=tuple(sizes[:, list(_TABLES).index("event_concept")].tolist()),
    )
    vocabulary = Vocabulary.from_json(facts["vocabulary"])
    return StaySet(tuple(facts["records"].split()), whole, sizes, vocabulary)
