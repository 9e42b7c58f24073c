"""Beyond the trained reach in two steps: answered, causal in the plan, and alike whatever is beside."""

from dataclasses import replace
from datetime import timedelta

import pytest
import torch

from clinical.prediction.abstention import AbstentionReason
from clinical.prediction.action import Action
from clinical.prediction.calibration import PlattCalibration
from clinical.prediction.horizon import Horizon
from clinical.timeline.event import EventKind
from clinical.worldmodel.composing import first_steps, forecast_beyond, from_later_on
from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.declining import is_in_reach
from clinical.worldmodel.families import FAMILIES, FORETOLD
from clinical.worldmodel.inference import Inference
from clinical.worldmodel.jepa import Jepa, Reading
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.statistics import NUM_FEATURES
from clinical.worldmodel.vocabulary import Vocabulary
from tests.clinical.worldmodel.conftest import SMALL
from tests.clinical.worldmodel.patients import METFORMIN, living, question

DAY = timedelta(days=1)
COMPOSING = replace(SMALL, can_compose=True, has_hazards=True, has_variance=True)
SECOND_YEAR = Horizon(400 * DAY, 700 * DAY)
PERSON = living(range(4))[0]


def built(config: ModelConfig, vocabulary: Vocabulary) -> Jepa:
    """Conditioned at random, as if trained: what begins at zero would hide mistakes."""
    generator = torch.Generator().manual_seed(7)
    model = Jepa(config, vocabulary)
    initialise(model, generator)
    with torch.no_grad():
        for layer in model.predictor.layers:
            layer.modulation.weight.normal_(0, 0.3, generator=generator)
        model.transition.gate.bias.zero_()  # type: ignore[union-attr]
    return model.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def composing(vocabulary: Vocabulary) -> Jepa:
    return built(COMPOSING, vocabulary)


@pytest.fixture(scope="module")
def far_sighted(composing: Jepa, inference: Inference) -> Inference:
    """Calibrated for one window of the second year too, by hand."""
    fitted = PlattCalibration(
        calibration_id="t", slope=1, intercept=0, num_patients=40, num_outcomes=20
    )
    more = {f"{risk}|{SECOND_YEAR.label}": fitted for risk in FORETOLD}
    probabilities = {**inference.calibration.probabilities, **more}
    calibration = replace(inference.calibration, probabilities=probabilities)
    return replace(inference, model=composing, calibration=calibration)


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


def test_the_first_step_is_the_shortest_after_which_the_window_lies_in_reach():
    stretch, rest = first_steps(torch.tensor([[[300.0, 400.0], [500.0, 730.0]]]), 365.0)
    assert stretch.tolist() == [[[0, 35], [0, 365]]]
    assert rest.tolist() == [[[265, 365], [135, 365]]]


def test_from_later_on_only_what_is_still_to_be_done_is_seen():
    later = from_later_on(plan(1.0, 35.0, 200.0), torch.tensor([35.0]))
    assert later.days.tolist() == [[0, 0, 165]]
    assert later.is_action.tolist() == [[False, True, True]]


@pytest.mark.parametrize(
    ("start", "end", "plain", "two_steps"),
    [
        (0, 365, True, True),
        (300, 366, False, True),
        (365, 730, False, True),
        (0, 366, False, False),  # longer than the reach
        (366, 731, False, False),
    ],
)
def test_what_is_in_reach(start: int, end: int, *, plain: bool, two_steps: bool):
    horizon = Horizon(start * DAY, end * DAY)
    assert is_in_reach(SMALL, horizon) is plain
    assert is_in_reach(COMPOSING, horizon) is two_steps


def test_beyond_reach_no_window_sees_an_action_planned_at_or_after_its_end(composing: Jepa):
    bounds = torch.tensor([[[300.0, 400.0], [365.0, 420.0], [500.0, 700.0]]])
    early, late = plan(10.0, 390.0, 420.0, 650.0), plan(10.0, 390.0, 460.0, 690.0)
    late.actions[:, 2:] += 3
    before, after = (
        forecast_beyond(composing, reading(composing), bounds, each) for each in (early, late)
    )
    assert torch.equal(before[0][:, :2], after[0][:, :2])
    assert torch.equal(before[1].quantiles[:, :2], after[1].quantiles[:, :2])
    assert torch.equal(before[1].intensity[:, :2], after[1].intensity[:, :2])
    assert (before[0][:, 2] != after[0][:, 2]).any()


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_beyond_reach_every_earlier_action_acts(composing: Jepa, moved: int):
    """In the first step, at its very end, and in the second."""
    bounds = torch.tensor([[[365.0, 500.0]]])  # the first step is of 135 days
    one, other = plan(10.0, 135.0, 300.0), plan(10.0, 135.0, 300.0)
    other.actions[:, moved] += 2
    before, after = (
        forecast_beyond(composing, reading(composing), bounds, each)[0] for each in (one, other)
    )
    assert (before != after).any()


def test_risks_grow_on_beyond_the_reach(composing: Jepa):
    ends = torch.tensor([[[0.0, end] for end in (30.0, 364.0, 365.0, 366.0, 500.0, 730.0)]])
    state = reading(composing)
    bounds = torch.tensor([[[365.0, 730.0]]])
    _, raw = forecast_beyond(composing, state, bounds)
    assert raw.hazards is not None
    assert (raw.hazards.incidence(ends).diff(dim=1) > 0).all()
    near = composing.hazards(state, Plan.usual_care(state.state))
    assert near is not None
    torch.testing.assert_close(
        near.incidence(ends[:, :3]), raw.hazards.incidence(ends[:, :3]), rtol=1e-9, atol=1e-12
    )


def test_a_window_of_the_second_year_is_answered_and_its_risks_too(far_sighted: Inference):
    forecast = far_sighted.forecast([question(PERSON, horizons=(SECOND_YEAR,))])[0]
    assert forecast.trajectory is not None
    assert forecast.trajectory.horizons == (SECOND_YEAR,)
    assert len(forecast.trajectory.noise) == 1
    assert forecast.trajectory.noise[0] > 0
    risks = [r for r in forecast.readouts if r.name in FORETOLD]
    assert len(risks) == len(FORETOLD)
    assert all(r.estimate is not None for r in risks)
    reasons = {r.abstention.reason for r in forecast.readouts if r.abstention}
    assert reasons <= {AbstentionReason.NOT_CALIBRATED, AbstentionReason.NEVER_MEASURED}


def test_without_hazards_the_latents_are_answered_and_the_risks_withheld(
    inference: Inference, vocabulary: Vocabulary
):
    plain = built(replace(SMALL, can_compose=True), vocabulary)
    forecast = replace(inference, model=plain).forecast(
        [question(PERSON, horizons=(SECOND_YEAR,))]
    )[0]
    assert forecast.trajectory is not None
    found = {r.abstention and r.abstention.reason for r in forecast.readouts if r.name in FORETOLD}
    assert found == {AbstentionReason.HORIZON_BEYOND_REACH}


def test_what_is_asked_beside_does_not_change_a_window(far_sighted: Inference):
    """In any order, near and far mixed: each window's own numbers, to rounding."""
    near = SMALL.horizons[1]
    many = (SECOND_YEAR, near, Horizon(200 * DAY, 380 * DAY))
    action = Action(kind=EventKind.MEDICATION_REQUEST, code=METFORMIN, after=100 * DAY)
    asked = [(SECOND_YEAR,), many, many[::-1]]
    alone, mixed, turned = far_sighted.forecast(
        [question(PERSON, horizons=each, actions=(action,)) for each in asked]
    )
    assert mixed.trajectory is not None
    assert mixed.trajectory.horizons == many
    for forecast in (alone, turned):
        found, wanted = said(forecast, SECOND_YEAR), said(mixed, SECOND_YEAR)
        assert found == pytest.approx(wanted, rel=1e-5)
    assert said(turned, near) == pytest.approx(said(mixed, near), rel=1e-5)


def said(forecast: object, horizon: Horizon) -> list[float]:
    readouts = forecast.readouts  # type: ignore[attr-defined]
    return [r.estimate for r in readouts if r.horizon == horizon and r.estimate is not None]


def test_two_steps_are_deterministic_and_a_batch_of_one_gives_the_bits_of_many(
    far_sighted: Inference,
):
    people = living(range(6))
    asked = [question(p, horizons=(SECOND_YEAR, SMALL.horizons[0])) for p in people]
    together = far_sighted.forecast(asked)
    torch.rand(3)
    assert [far_sighted.forecast([one])[0] for one in asked] == together
    assert len({f.output_digest for f in together}) == len(people)
