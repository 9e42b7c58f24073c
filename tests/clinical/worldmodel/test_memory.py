"""The memory: parallel equals step by step, in any chunks, at a cost that does not grow."""

import pytest
import torch

from clinical.worldmodel.jepa import Jepa, Remembered
from clinical.worldmodel.memory import Memory, scan
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.tally import Tally
from clinical.worldmodel.tensorize import Tensorizer, day_of
from tests.clinical.worldmodel.conftest import SMALL
from tests.clinical.worldmodel.patients import long_timeline, made_up


def random_memory(num_bundles: int, seed: int = 0) -> tuple[Memory, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    memory = Memory(SMALL)
    initialise(memory, generator)
    bundles = torch.randn(3, num_bundles, SMALL.width, generator=generator)
    gap = torch.rand(3, num_bundles, generator=generator) ** 4 * 900
    return memory.eval(), bundles, gap


def by_hand(keep: torch.Tensor, new: torch.Tensor, initial: torch.Tensor) -> torch.Tensor:
    now, states = initial, []
    for step in range(keep.shape[1]):
        now = keep[:, step] * now + new[:, step]
        states.append(now)
    return torch.stack(states, dim=1)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 37])
def test_the_scan_is_the_recurrence_written_out(length: int):
    generator = torch.Generator().manual_seed(length)
    keep = torch.rand(2, length, 5, generator=generator)
    new = torch.randn(2, length, 5, generator=generator)
    initial = torch.randn(2, 5, generator=generator)
    torch.testing.assert_close(
        scan(keep, new, initial), by_hand(keep, new, initial), atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_the_parallel_pass_equals_one_step_after_the_other():
    memory, bundles, gap = random_memory(90)
    parallel = memory(bundles, gap, memory.initial(3))
    now = memory.initial(3)
    for place in range(bundles.shape[1]):
        now = memory.step(bundles[:, place], gap[:, place], now)
        torch.testing.assert_close(parallel[:, place], now, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 7, 64, 89, 90, 1000])
def test_where_the_chunks_end_makes_no_difference(chunk: int):
    memory, bundles, gap = random_memory(90)
    whole = memory(bundles, gap, memory.initial(3), chunk=90)
    torch.testing.assert_close(
        memory(bundles, gap, memory.initial(3), chunk=chunk), whole, atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_a_later_bundle_changes_no_earlier_bit():
    memory, bundles, gap = random_memory(40)
    before = memory(bundles, gap, memory.initial(3))
    bundles[:, 25:] += 10
    gap[:, 25:] *= 3
    after = memory(bundles, gap, memory.initial(3))
    assert torch.equal(before[:, :25], after[:, :25])
    assert not torch.equal(before[:, 25:], after[:, 25:])


@torch.no_grad()
def test_time_alone_fades_the_memory_and_no_time_leaves_it():
    memory, bundles, gap = random_memory(10)
    last = memory(bundles, gap, memory.initial(3))[:, -1]
    assert torch.equal(memory.faded(last, torch.zeros(3)), last)
    sizes = [
        float(memory.faded(last, torch.full((3,), days)).norm()) for days in (1.0, 30.0, 365.0, 9e3)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1] > 0


@torch.no_grad()
def test_gaps_of_any_size_leave_finite_numbers():
    memory, bundles, _ = random_memory(6)
    gap = torch.tensor([[0, 1e-9, 1e9, 0, 1e30, 1.0]]).repeat(3, 1)
    assert torch.isfinite(memory(bundles * 1e4, gap, memory.initial(3))).all()


@torch.no_grad()
def test_a_timeline_appended_bundle_by_bundle_is_the_timeline_encoded_at_once(
    model: Jepa, tensorizer: Tensorizer
):
    timeline = made_up(3)
    whole = tensorizer.timeline(timeline)
    encoded = model.encode(whole)
    now = torch.tensor([day_of(timeline.known_until) + 20], dtype=torch.float64)  # type: ignore[arg-type]
    row = torch.zeros(1, dtype=torch.int64)
    at_once = model.read(whole, encoded, row, now)

    remembered = Remembered(model.memory.initial(1), torch.zeros(1, SMALL.width))
    tally, moments = Tally(), sorted({known.at for known in timeline.standing})
    for moment in moments:
        bundle, tally = tensorizer.known([k for k in timeline.standing if k.at == moment], tally)
        remembered = model.append(remembered, bundle)
    nothing, _ = tensorizer.known([], tally)
    appended = model.read(nothing, model.encode(nothing, remembered), row, now)

    torch.testing.assert_close(appended.state, at_once.state, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(appended.features, at_once.features, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("split", [1, 9, 30])
def test_a_timeline_read_in_two_pieces_is_the_timeline_read_at_once(
    model: Jepa, tensorizer: Tensorizer, split: int
):
    timeline = made_up(5)
    row = torch.zeros(1, dtype=torch.int64)
    now = torch.tensor([day_of(timeline.known_until)], dtype=torch.float64)  # type: ignore[arg-type]
    whole = tensorizer.timeline(timeline)
    at_once = model.read(whole, model.encode(whole), row, now)
    while timeline.standing[split - 1].at == timeline.standing[split].at:
        split += 1
    first, tally = tensorizer.known(timeline.standing[:split])
    second, _ = tensorizer.known(timeline.standing[split:], tally)
    encoded = model.encode(second, model.encode(first).remembered)
    in_pieces = model.read(second, encoded, row, now)
    torch.testing.assert_close(in_pieces.state, at_once.state, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_appending_costs_the_same_after_a_hundred_events_and_after_five_thousand(
    model: Jepa, tensorizer: Tensorizer
):
    """Counted in operations and numbers kept, not in seconds."""
    costs = []
    for num_events in (100, 5000):
        known = long_timeline(num_events + 1).standing
        batch, tally = tensorizer.known(known[:num_events])
        remembered = model.encode(batch).remembered
        with torch.profiler.profile(record_shapes=True) as profile:
            bundle, tally = tensorizer.known(known[num_events:], tally)
            after = model.append(remembered, bundle)
        operations = sorted(
            (e.key, str(e.input_shapes), e.count) for e in profile.key_averages(True)
        )
        kept = after.memory.numel() + after.static.numel() + len(tally.running)
        costs.append((operations, kept, len(tally.conditions)))
    assert costs[0] == costs[1]
