"""The clock: what an hour is to one model, a day is to another with the same weights."""

from dataclasses import replace

import torch

from clinical.timeline.event import EventKind
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.tensorize import Tensorizer, day_of
from clinical.worldmodel.vocabulary import Vocabulary
from tests.clinical.worldmodel.conftest import SMALL
from tests.clinical.worldmodel.patients import START, WEIGHT, amount, fact, patient_id

HOUR = 1 / 24
MOMENTS = ((0.0, 71), (1.0, 72), (5.0, 70), (30.0, 75), (31.0, 74))  # clock units, kilograms
WINDOWS = torch.tensor([[[0.0, 6.0], [6.0, 24.0]]])


def foretold(
    model: Jepa, vocabulary: Vocabulary, clock_days: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """State and latents two units after the last event; nothing is known of anybody's age."""
    clocked = Jepa(replace(SMALL, clock_days=clock_days), vocabulary)
    clocked.load_state_dict(model.state_dict())
    clocked.eval()
    events = [
        fact(
            1, f"w{t}", t * clock_days, EventKind.OBSERVATION, WEIGHT, value=amount(kilograms, "kg")
        )
        for t, kilograms in MOMENTS
    ]
    batch = Tensorizer(vocabulary, clock_days).timeline(Timeline.of(patient_id(1), events))
    day = torch.tensor([day_of(START) + 33 * clock_days], dtype=torch.float64)
    with torch.no_grad():
        row = torch.zeros(1, dtype=torch.int64)
        reading = clocked.read(batch, clocked.encode(batch), row, day)
        latents, _ = clocked.forecast(reading, WINDOWS * clock_days)
    return reading.state, latents


def test_hours_by_the_hour_are_days_by_the_day(model: Jepa, vocabulary: Vocabulary):
    by_day, by_hour = foretold(model, vocabulary, 1.0), foretold(model, vocabulary, HOUR)
    for one, other in zip(by_day, by_hour, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_clock_is_looked_at(model: Jepa, vocabulary: Vocabulary):
    """A third of a day is no day: the same record under another clock is another state."""
    by_day, by_third = foretold(model, vocabulary, 1.0), foretold(model, vocabulary, 1 / 3)
    torch.testing.assert_close(by_day[0], by_third[0], atol=1e-4, rtol=1e-4)
    slow = Jepa(replace(SMALL, clock_days=1 / 3), vocabulary)
    slow.load_state_dict(model.state_dict())
    batch = Tensorizer(vocabulary, 1.0).timeline(
        Timeline.of(
            patient_id(1),
            [
                fact(1, f"w{t}", t, EventKind.OBSERVATION, WEIGHT, value=amount(kilograms, "kg"))
                for t, kilograms in MOMENTS
            ],
        )
    )
    row, day = torch.zeros(1, dtype=torch.int64), torch.tensor([day_of(START) + 33.0])
    with torch.no_grad():
        read = slow.eval().read(batch, slow.encode(batch), row, day.double())
    assert not torch.allclose(read.state, by_day[0], atol=1e-4)
