"""Random choices: a part of a lesson draws what the whole would; hashed numbers look uniform."""

import pytest
import torch

from clinical.timeline.timeline import Timeline
from clinical.worldmodel.batch import join
from clinical.worldmodel.luck import Luck, Part, mixed
from clinical.worldmodel.tensorize import Tensorizer
from tests.clinical.worldmodel.patients import made_up


@pytest.fixture(scope="module")
def timelines() -> list[Timeline]:
    return [made_up(number) for number in range(5)]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_a_part_draws_what_the_whole_draws_and_leaves_the_generator_alike(
    timelines: list[Timeline], tensorizer: Tensorizer
):
    batches = [tensorizer.timeline(timeline) for timeline in timelines]
    whole = Luck(generator(), Part(torch.arange(10), torch.arange(0, 10, 2), 10))
    part = Luck(generator(), Part(torch.tensor([2, 3, 8, 9]), torch.tensor([2, 8]), 10))
    all_of_them, some = join(batches), join([batches[1], batches[4]])
    sizes = [len(batch.event_concept) for batch in batches]
    events = whole.events(all_of_them).split(sizes)
    assert torch.equal(part.events(some), torch.cat([events[1], events[4]]))
    assert torch.equal(part.timelines(some), whole.timelines(all_of_them)[[1, 4, 5]])
    assert torch.equal(part.questions(4, 3), whole.questions(10, 3)[[2, 3, 8, 9]])
    assert torch.equal(part.heads(4, 7), whole.heads(10, 7)[[2, 3, 8, 9]])
    question, horizon = torch.tensor([0, 0, 3]), torch.tensor([1, 4, 2])
    drawn = part.cells(question, horizon, 5)
    assert torch.equal(drawn, whole.cells(torch.tensor([2, 2, 9]), horizon, 5))
    assert torch.equal(whole.generator.get_state(), part.generator.get_state())


def test_without_a_part_the_draws_are_plain():
    luck, plain = Luck(generator()), generator()
    assert torch.equal(luck.questions(4), torch.rand(4, generator=plain))
    assert torch.equal(luck.heads(5, 3), torch.randint(3, (5,), generator=plain))


def test_mixed_numbers_are_uniform_and_do_not_follow_their_neighbours():
    numbers = mixed(torch.arange(200_000) * 0x61C8864680B583EB)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert float(numbers.mean()) == pytest.approx(0.5, abs=0.003)
    assert float(numbers.var()) == pytest.approx(1 / 12, abs=0.001)
    following = torch.corrcoef(torch.stack([numbers[:-1], numbers[1:]]))
    assert abs(float(following[0, 1])) < 0.01
