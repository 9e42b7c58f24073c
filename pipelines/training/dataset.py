"""Timelines → questions with their outcomes. The leakage rule lives here.

The rule: a question about `day` sees exactly what `Timeline.cut` at that moment gives, and its
outcomes come only from facts that were news after it. Patients are split by a hash of their identity,
so that no patient is ever on two sides.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import torch

from clinical.timeline.event import EventKind, Standing
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.batch import TimelineBatch, join
from clinical.worldmodel.grounding import Lesson
from clinical.worldmodel.tensorize import Tensorizer, day_of

_QUIET = 0.25  # of a unit of the model's clock: six hours of outpatient life
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Split(StrEnum):
    """What a patient is used for."""

    TRAINING = "training"
    VALIDATION = "validation"
    CALIBRATION = "calibration"


def split_of(timeline: Timeline) -> Split:
    """By the hash of the patient's identity: 58 % training, 16 % validation, 26 % calibration."""
    digest = hashlib.sha256(b"split 1|" + timeline.patient_id.bytes).digest()
    share = int.from_bytes(digest[:4]) / 2**32
    if share < 0.58:
        return Split.TRAINING
    return Split.VALIDATION if share < 0.74 else Split.CALIBRATION


def by_split(timelines: Iterable[Timeline]) -> dict[Split, list[Timeline]]:
    """The timelines of each split, ordered by the same hash, whatever order they came in."""
    splits: dict[Split, list[Timeline]] = {split: [] for split in Split}
    for timeline in timelines:
        splits[split_of(timeline)].append(timeline)
    for members in splits.values():
        members.sort(key=lambda timeline: hashlib.sha256(timeline.patient_id.bytes).digest())
    return splits


def digest_of(timelines: Iterable[Timeline]) -> str:
    """Hex SHA-256 over the digests of the timelines, in any order."""
    digests = sorted(timeline.digest for timeline in timelines)
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def moment_of(day: float) -> datetime:
    """The moment of a day number; the inverse of `day_of`, to the microsecond."""
    return _EPOCH + timedelta(days=day)


@dataclass(slots=True)
class Case:
    """One patient, ready to be asked about."""

    timeline: Timeline
    whole: TimelineBatch
    may_enter: torch.Tensor  # bool, events of `whole`
    shared_from_day: float
    asked_days: tuple[float, ...]  # moments after which the record was quiet, the patient alive
    end_day: float
    followed_until: float
    _cuts: dict[float, TimelineBatch] = field(default_factory=dict)

    def context(self, day: float, tensorizer: Tensorizer) -> TimelineBatch:
        """What may be read for a question on `day`.

        The whole timeline where nothing of its past changed after `day`: the model then reads the
        prefix. Otherwise the timeline as it was known, read anew.
        """
        if day >= self.shared_from_day:
            return self.whole
        if day not in self._cuts:
            self._cuts[day] = tensorizer.timeline(self.timeline.cut(moment_of(day)))
        return self._cuts[day]


def case_of(timeline: Timeline, tensorizer: Tensorizer) -> Case | None:
    """The patient as a case; None where fewer than two moments are on record."""
    whole = tensorizer.timeline(timeline)
    days = whole.bundle_day.tolist()
    deaths = [
        day_of(known.at)
        for known in timeline.standing
        if known.event.kind is EventKind.DEATH and known.event.standing is Standing.ASSERTED
    ]
    lived = [day for day in days if not deaths or day < min(deaths)]
    if len(lived) < 2:
        return None
    return Case(
        timeline=timeline,
        whole=whole,
        may_enter=_news(timeline, whole),
        shared_from_day=_shared_from_day(timeline),
        asked_days=_quiet(lived, _QUIET * tensorizer.clock_days),
        end_day=min(deaths) if deaths else days[-1],
        followed_until=float("inf") if deaths else days[-1],
    )


def _quiet(days: list[float], least_days: float) -> tuple[float, ...]:
    """The moments after which nothing became known for some time: the ends of visits.

    A question amid a visit is answered by the rest of that visit. Where the record is never quiet
    for that long, all moments.
    """
    gaps = zip(days, [*days[1:], float("inf")], strict=True)
    quiet = tuple(day for day, following in gaps if following - day >= least_days)
    return quiet if len(quiet) > 1 else tuple(days)


def _shared_from_day(timeline: Timeline) -> float:
    """From when on a cut of the timeline is a prefix of the whole.

    Later than every version of any record that was ever corrected or withdrawn, and than every
    static fact, for the model gives static facts to the whole timeline.
    """
    digests: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for _, event in timeline.versions:
        digests[event.fact_key[:3]].add(event.source.digest)
    late = [
        day_of(known.at)
        for known in timeline.versions
        if len(digests[known.event.fact_key[:3]]) > 1
        or known.event.standing is Standing.RETRACTED
        or known.event.kind is EventKind.PATIENT
    ]
    return max(late, default=-float("inf"))


def _news(timeline: Timeline, whole: TimelineBatch) -> torch.Tensor:
    """Which events were news when they became known: no later version of a record is."""
    first: dict[tuple[str, ...], datetime] = {}
    for at, event in timeline.versions:
        first.setdefault(event.fact_key[:3], at)
    first_digest = {
        event.fact_key[:3]: event.source.digest for at, event in reversed(timeline.versions)
    }
    is_news = {
        event.event_id: event.source.digest == first_digest[event.fact_key[:3]]
        for event in timeline.events
    }
    return torch.tensor([is_news[event.event_id] for event in whole.events], dtype=torch.bool)


def draw_day(case: Case, generator: torch.Generator) -> float:
    """A day for a question: half of them when a visit had ended, half log-uniform before the end."""
    luck = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    first, last = case.asked_days[0], case.asked_days[-1]
    if luck[0] < 0.5:
        return case.asked_days[int(luck[1] * len(case.asked_days))]
    return case.end_day - ((1 + case.end_day - first) ** luck[1] - 1) if last > first else last


def lesson_of(
    asked: Sequence[tuple[Case, float]],
    tensorizer: Tensorizer,
    bounds: torch.Tensor,
    bootstrap: torch.Tensor,
) -> Lesson:
    """The questions, each a case and a day, as one lesson; `bounds` and `bootstrap` are per question."""
    contexts: dict[int, tuple[int, TimelineBatch]] = {}
    futures: dict[int, tuple[int, Case]] = {}
    rows, future_rows = [], []
    for case, day in asked:
        context = case.context(day, tensorizer)
        rows.append(contexts.setdefault(id(context), (len(contexts), context))[0])
        future_rows.append(futures.setdefault(id(case), (len(futures), case))[0])
    context_batches = [context for _, context in contexts.values()]
    future_batches = [case.whole for _, case in futures.values()]
    context = join(context_batches)
    is_same = len(contexts) == len(futures) and all(
        one is other for one, other in zip(context_batches, future_batches, strict=True)
    )
    return Lesson(
        context=context,
        row=torch.tensor(rows),
        day=torch.tensor([day for _, day in asked], dtype=torch.float64),
        future=context if is_same else join(future_batches),
        future_row=torch.tensor(future_rows),
        may_enter=torch.cat([case.may_enter for _, case in futures.values()]),
        bounds=bounds,
        followed_days=torch.tensor(
            [case.followed_until - day for case, day in asked], dtype=torch.float32
        ),
        bootstrap=bootstrap,
    )
