"""`clinical bench forecast-cost`: all horizons in one pass, against futures drawn to the same variance.

Per seed a fifth of the stays is set aside; both models, of one size, learn from the rest by the same
number of steps. Then each stay set aside is asked at hour 24, one at a time, on one thread: first how
far the bootstrap heads differ, from which follows how many futures have the same variance, then both
are timed side by side.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path

import torch

from clinical.timeline.code import CodeSystem
from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.fitting import FitConfig
from clinical.worldmodel.jepa import Jepa
from pipelines.evaluation.baselines.next_event import NextEvent, NextEventConfig, sized_like
from pipelines.evaluation.baselines.next_event_training import train_next_event
from pipelines.evaluation.benchmark_file import BenchmarkRow
from pipelines.evaluation.forecast.asking import Foretold, Written, foretell, operations, write
from pipelines.evaluation.forecast.risks import LowValue
from pipelines.evaluation.forecast.rows import Answer, AskedStay, SeedResult, rows
from pipelines.evaluation.icu.lessons import ADMISSION_DAY, StayLessons
from pipelines.evaluation.icu.stays import StaySet, kept, read_set
from pipelines.training.recipes import Recipe
from pipelines.training.train import train

QUARTERS = ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))
RISK = LowValue(
    code=f"{CodeSystem.LOINC}|76214-6",  # invasive mean arterial pressure
    limit=65.0,
    start_days=0.75,
    end_days=1.0,
)
ASKED_HOUR = 24.0
_PILOT_PATHS, _PILOT_STAYS = 24, 24
_COUNTED = 3  # stays whose operations are counted
_STAYS_OF_TRANSFORMER = 12
"""Per step: every event of a stay is a target, so that a step takes it longer than the world model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the table is."""

    num_steps: int = 240
    num_asked: int = 100  # stays per seed
    num_seeds: int = 3
    max_paths: int = 256


def recipe_of(size: Size, seed: int) -> Recipe:
    """The profile of intensive care: windows of six hours, a clock in hours."""
    return Recipe(
        name="icu-forecast-cost",
        model=ModelConfig(windows_days=QUARTERS, clock_days=1 / 24),
        vocabulary=FitConfig(max_numeric=40),
        num_steps=size.num_steps,
        patients_per_step=48,
        questions_per_patient=2,
        warm_up_steps=30,
        seed=seed,
    )


def run(folder: Path, *, size: Size, cache: Path, say: Callable[[str], None]) -> list[BenchmarkRow]:
    """Measure; the rows `forecast.cost_ratio.24h` and `forecast.auroc_gain.24h`."""
    recipe = recipe_of(size, 0)
    torch.set_num_threads(1)
    say("Reading the stays …")
    archive = folder / "set-a.tar.gz"
    stays = kept(cache, archive, lambda: read_set(archive, recipe.model, recipe.vocabulary))
    seeds = [_kept_seed(stays, size, seed, cache.parent, say) for seed in range(size.num_seeds)]
    words = f" --steps {size.num_steps} --stays {size.num_asked} --futures {size.max_paths}"
    return rows(seeds, _note(seeds, size, len(stays)), words)


def _kept_seed(
    stays: StaySet, size: Size, seed: int, folder: Path, say: Callable[[str], None]
) -> SeedResult:
    """What an earlier run of the same size measured, or else what is measured now and kept."""
    name = f"forecast-cost-{size.num_steps}-{size.num_asked}-{size.max_paths}-{seed}.json"
    path = folder / name
    if not path.exists():
        path.write_text(_measure(stays, size, seed, say).to_json(), "utf-8")
    return SeedResult.from_json(path.read_text("utf-8"))


def _note(seeds: list[SeedResult], size: Size, num_stays: int) -> str:
    low = statistics.fmean(answer.stay.is_low for seed in seeds for answer in seed.answers)
    ours, theirs = (
        statistics.fmean(column) for column in zip(*(s.sizes for s in seeds), strict=True)
    )
    events = statistics.fmean(a.theirs.num_events / s.num_paths for s in seeds for a in s.answers)
    cut = sum(answer.theirs.num_cut for seed in seeds for answer in seed.answers)
    return (
        "PhysioNet 2012 set-a. Outcome at 24 h: the first invasive mean arterial pressure 18–24 h "
        f"after the question at hour 24 is below {RISK.limit:.0f} mmHg ({low:.0%} of those asked; "
        "stays with one before and one in the window). Ours: all four windows with every readout, "
        "reading the record included; the transformer: reading it and futures of 24 h with kept keys "
        "and values, as many as give the mean variance of one bootstrap head, at most "
        f"{size.max_paths}. {num_stays:,} stays, four fifths to learn from, {size.num_steps} steps of "
        f"{recipe_of(size, 0).patients_per_step} stays each (the transformer "
        f"{_STAYS_OF_TRANSFORMER}, which takes it longer); {ours:,.0f} and {theirs:,.0f} parameters; "
        f"{events:.0f} events a future, {cut} cut short; one thread, one stay at a time."
    )


def _measure(stays: StaySet, size: Size, seed: int, say: Callable[[str], None]) -> SeedResult:
    recipe, vocabulary = recipe_of(size, seed), stays.vocabulary
    order = torch.randperm(len(stays), generator=torch.Generator().manual_seed(seed))
    aside, learnt = order[: len(stays) // 5], order[len(stays) // 5 :]
    say(f"Seed {seed}: training the world model …")
    lessons = StayLessons(recipe, stays, learnt)
    ours = train(recipe, lessons, vocabulary)
    num_ours = sum(weight.numel() for weight in ours.parameters())
    config = NextEventConfig(num_layers=4, clock_days=recipe.model.clock_days)
    config = sized_like(num_ours, vocabulary, config)
    say(f"Seed {seed}: training the next-event transformer …")
    few = replace(recipe, patients_per_step=_STAYS_OF_TRANSFORMER)
    theirs = train_next_event(few, StayLessons(few, stays, learnt), vocabulary, config)
    num_theirs = sum(weight.numel() for weight in theirs.parameters())
    asked = _asked(stays, aside.tolist(), size.num_asked)
    say(f"Seed {seed}: how far the heads differ …")
    wanted = _paths_for_the_same_variance(ours, theirs, stays, asked, seed)
    num_paths = max(2, min(size.max_paths, round(wanted)))
    answers = []
    for number, stay in enumerate(asked):
        say(f"Seed {seed}: stay {number + 1} of {len(asked)}, {num_paths} futures …")
        answers.append(Answer(stay, *_both(ours, theirs, stays, stay.place, num_paths)))
    counted = [_operations(ours, theirs, stays, stay.place, num_paths) for stay in asked[:_COUNTED]]
    mean = [statistics.fmean(column) for column in zip(*counted, strict=True)]
    return SeedResult(answers, num_paths, wanted, mean[0], mean[1], (num_ours, num_theirs))


def _both(
    ours: Jepa, theirs: NextEvent, stays: StaySet, stay: int, num_paths: int
) -> tuple[Foretold, Written]:
    vocabulary, day = stays.vocabulary, ADMISSION_DAY + ASKED_HOUR / 24
    record = until(stays.batches[stay], day)
    told = foretell(ours, vocabulary, record, day, RISK)
    return told, write(theirs, vocabulary, record, day, RISK, num_paths=num_paths, seed=stay)


def _paths_for_the_same_variance(
    ours: Jepa, theirs: NextEvent, stays: StaySet, asked: list[AskedStay], seed: int
) -> float:
    """How many futures have, on average over stays, the variance that one bootstrap head has.

    The variance of a share of n paths is p (1 - p) / n; only paths with a value in the window count.
    """
    heads, paths, useful = [], [], []
    generator = torch.Generator().manual_seed(seed)
    for place in torch.randperm(len(asked), generator=generator)[:_PILOT_STAYS].tolist():
        told, written = _both(ours, theirs, stays, asked[place].place, _PILOT_PATHS)
        heads.append(statistics.variance(told.by_head))
        paths.append(written.probability * (1 - written.probability))
        useful.append(written.num_useful / _PILOT_PATHS)
    return statistics.fmean(paths) / statistics.fmean(heads) / statistics.fmean(useful)


def _operations(
    ours: Jepa, theirs: NextEvent, stays: StaySet, stay: int, num_paths: int
) -> tuple[int, int]:
    vocabulary, day = stays.vocabulary, ADMISSION_DAY + ASKED_HOUR / 24
    record = until(stays.batches[stay], day)
    return (
        operations(lambda: foretell(ours, vocabulary, record, day, RISK)),
        operations(
            lambda: write(theirs, vocabulary, record, day, RISK, num_paths=num_paths, seed=stay)
        ),
    )


def _asked(stays: StaySet, places: list[int], most: int) -> list[AskedStay]:
    """Stays with a value in the window and one before."""
    found = (_stay(stays, place) for place in places)
    return list(islice((stay for stay in found if stay is not None), most))


def _stay(stays: StaySet, place: int) -> AskedStay | None:
    batch, scale = stays.batches[place], stays.vocabulary.scales[RISK.code]
    own = batch.value_series == stays.vocabulary.numeric.index(RISK.code)
    values = batch.value_z[own].double() * scale.sd + scale.mean
    after = batch.event_day[batch.value_event[own]] - (ADMISSION_DAY + ASKED_HOUR / 24)
    before, inside = (
        values[after <= 0],
        values[(after > RISK.start_days) & (after <= RISK.end_days)],
    )
    if not len(before) or not len(inside):
        return None
    return AskedStay(place, float(inside[0]) < RISK.limit, float(before[-1]))


def until(batch: TimelineBatch, day: float) -> TimelineBatch:
    """A batch of one timeline, as it was known on `day`; static facts stay."""
    num_bundles = int((batch.bundle_day <= day).sum())
    kept = torch.nonzero(batch.event_bundle < num_bundles).squeeze(1)
    place = torch.full_like(batch.event_bundle, -1)
    place[kept] = torch.arange(len(kept))
    values = torch.nonzero(place[batch.value_event] >= 0).squeeze(1)
    entries = torch.nonzero(batch.running_bundle < num_bundles).squeeze(1)
    of_events = {
        name: getattr(batch, name)[kept]
        for name in (f.name for f in fields(batch))
        if name.startswith("event_")
    }
    return replace(
        batch,
        **of_events,
        bundle_row=batch.bundle_row[:num_bundles],
        bundle_step=batch.bundle_step[:num_bundles],
        bundle_day=batch.bundle_day[:num_bundles],
        bundle_counts=batch.bundle_counts[:num_bundles],
        value_series=batch.value_series[values],
        value_event=place[batch.value_event[values]],
        value_z=batch.value_z[values],
        running_series=batch.running_series[entries],
        running_bundle=batch.running_bundle[entries],
        running=batch.running[entries],
        static_event=place[batch.static_event],
        events=(),
        num_events=(len(kept),),
    )
