"""A model with hazards: causal in its plans, alike for any window, and the old one untouched by it."""

from dataclasses import replace

import pytest
import torch

from clinical.worldmodel.families import FAMILIES, FORETOLD
from clinical.worldmodel.hazards import DEATH
from clinical.worldmodel.jepa import Jepa, Reading
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.statistics import NUM_FEATURES
from clinical.worldmodel.vocabulary import Vocabulary
from tests.clinical.worldmodel.conftest import SMALL

WITH_HAZARDS = replace(SMALL, has_hazards=True)
BOUNDS = torch.tensor([SMALL.windows_days], dtype=torch.float32)


@pytest.fixture(scope="module")
def hazardous(vocabulary: Vocabulary) -> Jepa:
    generator = torch.Generator().manual_seed(4)
    built = Jepa(WITH_HAZARDS, vocabulary)
    initialise(built, generator)
    with torch.no_grad():
        for layer in built.predictor.layers:
            layer.modulation.weight.normal_(0, 0.3, generator=generator)
        built.hazard_readout.families.weight.mul_(10)  # type: ignore[union-attr]
        built.hazard_readout.hurdles.weight.mul_(10)  # type: ignore[union-attr]
    return built.eval().requires_grad_(requires_grad=False)


def reading(model: Jepa) -> Reading:
    generator = torch.Generator().manual_seed(2)
    series = model.readouts.num_numeric + len(FAMILIES)
    return Reading(
        torch.randn(1, SMALL.width, generator=generator),
        torch.randn(1, series, NUM_FEATURES, generator=generator),
    )


def plan(*days: float) -> Plan:
    vectors = torch.randn(1, len(days), SMALL.width, generator=torch.Generator().manual_seed(1))
    given = torch.tensor([True])
    return Plan(vectors, torch.tensor([days]), torch.ones(1, len(days), dtype=torch.bool), given)


def test_no_window_sees_an_action_planned_at_or_after_its_end(hazardous: Jepa):
    """Of any window, not only of the trained ones, though several share a bin."""
    asked = [(0.0, 1.5), (0.0, 7.0), (0.0, 8.5), (8.0, 44.0), (40.0, 44.0), (0.0, 365.0)]
    bounds = torch.tensor([asked])
    early, late = plan(1.0, 44.0, 200.0), plan(1.0, 50.0, 300.0)
    before, after = (
        hazardous.hazards(reading(hazardous), each).incidence(bounds)  # type: ignore[union-attr]
        for each in (early, late)
    )
    assert torch.equal(before[:, :5], after[:, :5])
    assert (before[:, 5] != after[:, 5]).any()


def test_an_action_at_the_question_acts_on_every_window(hazardous: Jepa):
    now, other = plan(0.0), plan(0.0)
    other.actions[:] += 1
    before, after = (
        hazardous.hazards(reading(hazardous), each).incidence(BOUNDS)  # type: ignore[union-attr]
        for each in (now, other)
    )
    assert (before != after).flatten(2).any(-1).all()


def test_the_intensities_are_those_of_the_hazards(hazardous: Jepa):
    _, raw = hazardous.forecast(reading(hazardous), BOUNDS, plan(3.0))
    assert raw.hazards is not None
    incidence = raw.hazards.incidence(BOUNDS)
    torch.testing.assert_close(
        -torch.expm1(-raw.intensity.double()), incidence, rtol=1e-5, atol=1e-9
    )
    assert raw.intensity.shape == (1, 4, SMALL.num_heads, len(FORETOLD))
    assert (raw.hazards.incidence(BOUNDS)[..., DEATH].sum(1) <= 1).all()


def test_without_the_switch_there_is_nothing_of_it(model: Jepa):
    assert model.hazard_readout is None
    assert model.hazards(reading(model), Plan.usual_care(reading(model).state)) is None
    assert not any("hazard" in name or "variance" in name for name in model.state_dict())
