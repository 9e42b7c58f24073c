"""The tensors made at once are those that the tensorizer makes of the events."""

import numpy as np
import pytest
import torch

from clinical.timeline.timeline import Timeline
from clinical.worldmodel.batch import TimelineBatch, join
from clinical.worldmodel.fitting import FitConfig, fit
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.evaluation.tumour import records
from pipelines.evaluation.tumour.cohort import Cohort
from pipelines.evaluation.tumour.learner import recipe
from pipelines.evaluation.tumour.records import ASKED_AT, START_DAY
from pipelines.evaluation.tumour.simulator import (
    Courses,
    draw_luck,
    draw_patients,
    factual,
)

ROWS = np.array([4, 0, 7])


@pytest.fixture(scope="module")
def courses() -> Courses:
    generator = np.random.default_rng(2)
    return factual(draw_patients(30, generator), draw_luck(30, 20, generator), 1.0)


@pytest.fixture(scope="module")
def tensorizer(courses: Courses) -> Tensorizer:
    return Tensorizer(records.vocabulary_of(courses))


@pytest.fixture(scope="module")
def both(courses: Courses, tensorizer: Tensorizer) -> tuple[TimelineBatch, TimelineBatch]:
    read = [tensorizer.timeline(Timeline.of(*records.events_of(courses, int(row)))) for row in ROWS]
    return Cohort(courses, tensorizer).batch(ROWS), join(read)


def resolved(batch: TimelineBatch) -> torch.Tensor:
    """A row for each event, whatever the order inside a bundle and of the concept table."""
    table = torch.cat(
        [
            batch.event_bundle[:, None].double(),
            batch.concept_token[batch.event_concept][:, None].double(),
            batch.concept_system[batch.event_concept][:, None].double(),
            batch.concept_pieces[batch.event_concept].double(),
            batch.event_attributes.double(),
            batch.event_flags.double(),
            batch.event_bin_row[:, None].double(),
            batch.event_number.double(),
            batch.event_lag[:, None].double(),
        ],
        dim=1,
    )
    order = np.lexsort(table[:, [1, 0]].numpy().T)
    return table[torch.from_numpy(order)]


def test_events_and_bundles_are_the_same(both: tuple[TimelineBatch, TimelineBatch]) -> None:
    ours, theirs = both
    torch.testing.assert_close(resolved(ours), resolved(theirs), rtol=1e-6, atol=1e-6)
    for name in ("bundle_row", "bundle_step", "bundle_day", "bundle_counts", "static_row"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    assert ours.num_events == theirs.num_events
    assert ours.num_unseen == theirs.num_unseen


def test_running_statistics_are_the_same(both: tuple[TimelineBatch, TimelineBatch]) -> None:
    def table(batch: TimelineBatch) -> torch.Tensor:
        order = np.lexsort((batch.running_series.numpy(), batch.running_bundle.numpy()))
        return batch.running[torch.from_numpy(order)]

    torch.testing.assert_close(table(both[0]), table(both[1]), rtol=1e-8, atol=1e-8)


def test_the_network_reads_the_same_states(
    tensorizer: Tensorizer, both: tuple[TimelineBatch, TimelineBatch]
) -> None:
    model = Jepa(recipe(0).model, tensorizer.vocabulary)
    initialise(model, torch.Generator().manual_seed(0))
    model.eval()
    row, day = torch.arange(3), torch.full((3,), START_DAY + 1 + ASKED_AT, dtype=torch.float64)
    with torch.inference_mode():
        states = [model.read(batch, model.encode(batch), row, day).state for batch in both]
    torch.testing.assert_close(states[0], states[1], rtol=1e-5, atol=1e-5)


def test_the_vocabulary_is_what_fitting_finds(courses: Courses) -> None:
    ours = records.vocabulary_of(courses)
    timelines = [Timeline.of(*records.events_of(courses, row)) for row in range(len(courses))]
    config = FitConfig(min_forecast_values=1, min_own_bins=1, num_buckets=records.NUM_BUCKETS)
    found = fit(timelines, lambda _unit, _to: None, config=config)
    assert [(e.value, e.count) for e in ours.entries] == [(e.value, e.count) for e in found.entries]
    for key, scale in ours.scales.items():
        other = found.scales[key]
        assert scale.knots == pytest.approx(other.knots)
        assert (scale.mean, scale.sd) == pytest.approx((other.mean, other.sd))
    assert ours.numeric == found.numeric
    assert set(ours.actions) == set(found.actions)
