"""The window encoder sees the window: none of the past, and no actions."""

import torch

from clinical.timeline.event import EventKind
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.batch import TimelineBatch, join
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.targets import counted_windows, members
from clinical.worldmodel.tensorize import Tensorizer, day_of
from tests.clinical.worldmodel.patients import (
    METFORMIN,
    START,
    WEIGHT,
    amount,
    fact,
    made_up,
    patient_id,
)

BOUNDS = torch.tensor([[[0.0, 7.0], [7.0, 30.0], [30.0, 90.0], [12.5, 40.0]]])
CUT = torch.tensor([day_of(START) + 100], dtype=torch.float64)
ROW = torch.zeros(1, dtype=torch.int64)


def weights(*given: tuple[float, float]) -> list:
    return [
        fact(1, f"w{day}", day, EventKind.OBSERVATION, WEIGHT, value=amount(value, "kg"))
        for day, value in given
    ]


FUTURE = weights((100.0, 60), (104, 71), (107, 72), (125, 73), (140, 74), (190, 75), (191, 99))


def latents(model: Jepa, batch: TimelineBatch) -> torch.Tensor:
    with torch.no_grad():
        inside = members(batch, ROW, CUT, BOUNDS)
        return model.windows(model.embedding(batch), inside)


def timeline(*events: object) -> Timeline:
    return Timeline.of(patient_id(1), events)  # type: ignore[arg-type]


def test_a_window_holds_what_became_known_after_its_start_up_to_its_end(tensorizer: Tensorizer):
    batch = tensorizer.timeline(timeline(*FUTURE))
    inside = members(batch, ROW, CUT, BOUNDS)
    assert inside.counts.tolist() == [2, 1, 2, 2]
    assert inside.delay[inside.window == 0].tolist() == [4, 7]


def test_nothing_of_the_past_changes_a_target(model: Jepa, tensorizer: Tensorizer):
    """Neither what was known at the cut nor how much of it there was."""
    without = latents(model, tensorizer.timeline(timeline(*FUTURE)))
    drug = fact(1, "drug", 60, EventKind.MEDICATION_REQUEST, METFORMIN)
    past = [*weights((10, 55), (50, 100), (100, 61)), drug]
    with_past = latents(model, tensorizer.timeline(timeline(*past, *FUTURE)))
    torch.testing.assert_close(with_past, without, atol=1e-6, rtol=1e-6)


def test_actions_in_the_window_are_no_targets(model: Jepa, tensorizer: Tensorizer):
    drug = fact(1, "drug", 105, EventKind.MEDICATION_REQUEST, METFORMIN)
    without = latents(model, tensorizer.timeline(timeline(*FUTURE)))
    treated = latents(model, tensorizer.timeline(timeline(drug, *FUTURE)))
    torch.testing.assert_close(treated, without, atol=1e-6, rtol=1e-6)


def test_what_is_in_the_window_does_change_its_target_and_no_other(
    model: Jepa, tensorizer: Tensorizer
):
    one = latents(model, tensorizer.timeline(timeline(*FUTURE)))
    changed = [*FUTURE[:3], *weights((125, 110)), *FUTURE[4:]]
    other = latents(model, tensorizer.timeline(timeline(*changed)))
    assert torch.allclose(one[0], other[0])
    assert torch.allclose(one[2], other[2])
    assert not torch.allclose(one[1], other[1])
    assert not torch.allclose(one[3], other[3])


def test_windows_of_several_timelines_are_kept_apart(tensorizer: Tensorizer):
    batches = [tensorizer.timeline(made_up(number)) for number in (1, 2, 3)]
    joined = join(batches)
    row = torch.tensor([2, 0, 1, 2])
    day = torch.stack([b.bundle_day[0] + 5 for b in batches])[row]
    together = members(joined, row, day, BOUNDS.expand(4, -1, -1)).counts.reshape(4, -1)
    for place, number in enumerate(row.tolist()):
        alone = members(batches[number], ROW, day[place : place + 1], BOUNDS)
        assert torch.equal(together[place], alone.counts)


def test_a_window_by_count_ends_with_that_observation_and_holds_so_many(tensorizer: Tensorizer):
    batch = tensorizer.timeline(timeline(*FUTURE))
    found = counted_windows(batch, ROW, CUT, None, (2, 4, 6, 7), 90.0)
    assert found[0, :, 0].tolist() == [0.0] * 4
    assert found[0, :, 1].tolist() == [7.0, 40.0, 90.0, 90.0]  # the sixth comes after 91 days
    assert members(batch, ROW, CUT, found).counts[:2].tolist() == [2, 4]


def test_windows_by_count_are_those_of_each_question(tensorizer: Tensorizer):
    batches = [tensorizer.timeline(made_up(number)) for number in (1, 2, 3)]
    row = torch.tensor([2, 0, 1, 2])
    day = torch.stack([b.bundle_day[0] + 5 for b in batches])[row]
    together = counted_windows(join(batches), row, day, None, (3, 9), 365.0)
    for place, number in enumerate(row.tolist()):
        alone = counted_windows(batches[number], ROW, day[place : place + 1], None, (3, 9), 365.0)
        assert torch.equal(together[place], alone[0])


def test_nobody_has_a_window_by_count_after_the_last_observation(tensorizer: Tensorizer):
    batch = tensorizer.timeline(timeline(*FUTURE))
    found = counted_windows(batch, ROW, CUT + 500, None, (1,), 90.0)
    assert found.tolist() == [[[0.0, 90.0]]]
