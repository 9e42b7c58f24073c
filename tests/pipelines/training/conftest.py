"""A world of made-up patients, small enough to train on in a test."""

from dataclasses import replace

import pytest

from clinical.timeline.timeline import Timeline
from clinical.worldmodel.config import AbstentionLimits
from clinical.worldmodel.fitting import FitConfig, fit
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training.dataset import Case, case_of
from pipelines.training.recipes import Recipe, recipe
from tests.clinical.worldmodel.conftest import SMALL, convert
from tests.clinical.worldmodel.patients import made_up

VOCABULARY = FitConfig(min_own_bins=400, min_forecast_values=50, num_buckets=SMALL.num_buckets)


@pytest.fixture(scope="session")
def timelines() -> list[Timeline]:
    return [made_up(number) for number in range(60)]


@pytest.fixture(scope="session")
def tensorizer(timelines: list[Timeline]) -> Tensorizer:
    return Tensorizer(fit(timelines[:40], convert, config=VOCABULARY))


@pytest.fixture(scope="session")
def cases(timelines: list[Timeline], tensorizer: Tensorizer) -> list[Case]:
    return [c for t in timelines[:40] if (c := case_of(t, tensorizer)) is not None]


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    return replace(
        recipe("cpu-small", seed=3, num_steps=12),
        model=SMALL,
        vocabulary=VOCABULARY,
        limits=AbstentionLimits(min_patients=3, min_outcomes=2),
        patients_per_step=8,
        questions_per_patient=3,
        warm_up_steps=3,
        questions_per_held_out_patient=4,
    )
