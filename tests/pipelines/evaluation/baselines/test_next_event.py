"""The next-event transformer: causal, cached as it is read at once, and honest about time."""

from dataclasses import replace

import pytest
import torch

from clinical.timeline.timeline import Timeline
from clinical.worldmodel.batch import join
from clinical.worldmodel.fitting import FitConfig, fit
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.evaluation.baselines.next_event import (
    NextEvent,
    NextEventConfig,
    Sequences,
    num_weights,
    sized_like,
    wait_bin,
    wait_edges,
)
from pipelines.evaluation.baselines.next_event_sampling import _Writing, draw_wait, sample
from pipelines.evaluation.baselines.next_event_training import train_next_event
from pipelines.training.dataset import case_of, moment_of
from pipelines.training.lessons import CaseLessons
from pipelines.training.recipes import recipe
from tests.clinical.worldmodel.conftest import SMALL, convert
from tests.clinical.worldmodel.patients import made_up

CONFIG = NextEventConfig(width=16, num_layers=2, num_attention_heads=2)


@pytest.fixture(scope="module")
def timelines() -> list[Timeline]:
    return [made_up(number) for number in range(16)]


@pytest.fixture(scope="module")
def tensorizer(timelines: list[Timeline]) -> Tensorizer:
    return Tensorizer(fit(timelines, convert, config=FitConfig(num_buckets=SMALL.num_buckets)))


@pytest.fixture(scope="module")
def model(tensorizer: Tensorizer) -> NextEvent:
    built = NextEvent(CONFIG, tensorizer.vocabulary)
    initialise(built, torch.Generator().manual_seed(2))
    return built.eval().requires_grad_(requires_grad=False)


def read_alone(model: NextEvent, tensorizer: Tensorizer, timeline: Timeline) -> Sequences:
    return model.sequences(tensorizer.timeline(timeline))


def test_every_event_is_one_class_that_gives_its_code_and_decile_back(
    model: NextEvent, tensorizer: Tensorizer, timelines: list[Timeline]
):
    batch = tensorizer.timeline(timelines[0])
    classes = model.classes.of(batch)
    token, decile = model.classes.token_and_decile(classes)
    known = classes > 1
    assert known.float().mean() > 0.8
    assert torch.equal(token[known], batch.concept_token[batch.event_concept][known])
    position = batch.event_number[:, 0].floor().clamp(max=9).long()
    assert torch.equal(decile[known], position[known])


def test_the_state_of_a_question_is_that_of_the_record_cut_there(
    model: NextEvent, tensorizer: Tensorizer, timelines: list[Timeline]
):
    whole = join([tensorizer.timeline(timeline) for timeline in timelines[:4]])
    for number, timeline in enumerate(timelines[:4]):
        day = whole.bundle_day[whole.bundle_row == number].median()
        cut = tensorizer.timeline(timeline.cut(moment_of(float(day))))
        one, all_of_it = (
            model.states(batch, torch.tensor([row]), day[None])
            for batch, row in ((cut, 0), (whole, number))
        )
        assert torch.allclose(one, all_of_it, atol=1e-5)


def test_only_the_last_events_are_read(
    tensorizer: Tensorizer, timelines: list[Timeline], model: NextEvent
):
    short = NextEvent(replace(CONFIG, max_events=5), tensorizer.vocabulary)
    batch = join([tensorizer.timeline(timeline) for timeline in timelines[:3]])
    few, all_of_them = short.sequences(batch), model.sequences(batch)
    assert few.is_event.sum(1).tolist() == [5, 5, 5]
    for row in range(3):
        own, other = few.is_event[row], all_of_them.is_event[row]
        assert torch.equal(few.classes[row][own], all_of_them.classes[row][other][-5:])


def test_writing_with_the_cache_is_reading_it_all_at_once(
    model: NextEvent, tensorizer: Tensorizer, timelines: list[Timeline]
):
    read = read_alone(model, tensorizer, timelines[1])
    day = float(read.day[0, -1])
    writing = _Writing(model, read, day, 3, torch.Generator().manual_seed(5))
    classes, days = [], []
    for _ in range(132):  # beyond the room that the cache begins with
        drawn = writing.next_event(float("inf"))
        assert drawn is not None
        classes.append(drawn[0])
        days.append(drawn[1] + day)
    again = Sequences(
        torch.cat([read.classes.expand(3, -1), torch.stack(classes, 1)], 1),
        torch.cat([read.day.expand(3, -1), torch.stack(days, 1)], 1),
        torch.cat([read.is_event.expand(3, -1), torch.ones(3, 132, dtype=torch.bool)], 1),
        read.birth_day.expand(3),
    )
    assert torch.allclose(model.hidden(again)[:, -1], writing._hidden, atol=1e-4)


def test_futures_lie_after_the_question_and_within_reach_and_are_seeded(
    model: NextEvent, tensorizer: Tensorizer, timelines: list[Timeline]
):
    read = read_alone(model, tensorizer, timelines[2])
    day = float(read.day[0, read.is_event[0]].median()) + 0.5

    def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        futures = sample(model, read, day, 40.0, 20, generator)
        assert futures.num_cut == 0
        return futures.classes, futures.days

    classes, days = drawn(1)
    real = classes >= 0
    assert real.any()
    assert ((days[real] > 0) & (days[real] <= 40)).all()
    assert torch.isinf(days[~real]).all()
    assert torch.equal(classes, drawn(1)[0])
    assert not torch.equal(classes, drawn(2)[0])


def test_a_path_that_is_too_long_is_counted_as_cut(
    model: NextEvent, tensorizer: Tensorizer, timelines: list[Timeline]
):
    read = read_alone(model, tensorizer, timelines[2])
    day = float(read.day[0, -1])
    futures = sample(model, read, day, 1e6, 4, torch.Generator().manual_seed(0), max_new=2)
    assert futures.num_cut == 4
    assert futures.classes.shape == (4, 2)


def test_waits_are_drawn_as_often_as_the_model_says_and_not_shorter_than_what_passed():
    edges, generator = wait_edges(), torch.Generator().manual_seed(0)
    chance = torch.full((len(edges),), -20.0)
    chance[0], chance[10], chance[20] = 0.0, 0.0, 0.0
    wait, waited = draw_wait(chance.expand(30_000, -1), edges, generator, None)
    shares = torch.bincount(waited, minlength=len(edges)) / 30_000
    assert shares[[0, 10, 20]].tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    assert torch.equal(wait_bin(wait, edges), waited)
    least = float(edges[9] * 1.2)
    wait, waited = draw_wait(chance.expand(30_000, -1), edges, generator, least)
    assert set(waited.tolist()) == {10, 20}
    assert wait.min() >= least


def test_training_makes_it_better_and_the_same_seed_the_same(
    tensorizer: Tensorizer, timelines: list[Timeline]
):
    cases = [c for t in timelines if (c := case_of(t, tensorizer)) is not None]
    how = replace(recipe("cpu-small", num_steps=15), patients_per_step=3, warm_up_steps=2)
    lessons = CaseLessons(how, cases, tensorizer)
    totals: list[float] = []

    def trained(**more: object) -> NextEvent:
        return train_next_event(how, lessons, tensorizer.vocabulary, CONFIG, **more)  # type: ignore[arg-type]

    first = trained(watch=lambda progress: totals.append(progress.losses["total"]))
    assert sum(totals[-5:]) < 0.9 * sum(totals[:5])
    pairs = zip(first.parameters(), trained().parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_its_size_is_chosen_to_be_that_of_the_other_model(tensorizer: Tensorizer):
    for wanted in (30_000, 120_000):
        sized = sized_like(wanted, tensorizer.vocabulary, CONFIG)
        assert num_weights(sized, tensorizer.vocabulary) == pytest.approx(wanted, rel=0.15)
