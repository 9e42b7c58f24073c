"""The predictor: causal in the plan, one horizon blind to the others, and costs in readout units."""

import pytest
import torch

from clinical.worldmodel.costing import PARTS, Goals
from clinical.worldmodel.families import FORETOLD
from clinical.worldmodel.jepa import Jepa, Reading
from clinical.worldmodel.predictor import Plan, Predictor, visibility
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.statistics import NUM_FEATURES
from tests.clinical.worldmodel.conftest import SMALL

BOUNDS = torch.tensor([SMALL.windows_days], dtype=torch.float32)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """Conditioned at random: the modulation begins at zero, which would hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    built = Predictor(SMALL)
    initialise(built, generator)
    with torch.no_grad():
        for layer in built.layers:
            layer.modulation.weight.normal_(0, 0.3, generator=generator)
    return built.eval().requires_grad_(requires_grad=False)


def state(seed: int = 1) -> torch.Tensor:
    return torch.randn(1, SMALL.width, generator=torch.Generator().manual_seed(seed))


def plan(*days: float, seed: int = 2) -> Plan:
    vectors = torch.randn(1, len(days), SMALL.width, generator=torch.Generator().manual_seed(seed))
    return Plan(
        vectors,
        torch.tensor([days]),
        torch.ones(1, len(days), dtype=torch.bool),
        torch.tensor([True]),
    )


def test_a_window_sees_no_action_planned_at_or_after_its_end(predictor: Predictor):
    """The windows end at 7, 30, 90 and 365 days; the last two actions change."""
    early = plan(1.0, 20.0, 30.0, 200.0)
    changed = Plan(early.actions.clone(), early.days.clone(), early.is_action, early.is_given)
    changed.actions[:, 2:] += 3
    changed.days[:, 2:] += 5
    before, after = (predictor(state(), BOUNDS, each) for each in (early, changed))
    assert torch.equal(before[:, :2], after[:, :2])
    assert (before[:, 2:] != after[:, 2:]).flatten(2).any(-1).all()


def test_an_earlier_action_changes_every_window(predictor: Predictor):
    first, other = plan(1.0, 20.0), plan(1.0, 20.0)
    other.actions[:, 0] += 1
    before, after = (predictor(state(), BOUNDS, each) for each in (first, other))
    assert (before != after).flatten(2).any(-1).all()


def test_what_is_asked_beside_a_window_does_not_change_its_answer(predictor: Predictor):
    """Any window can be asked at run time, given as days."""
    given = plan(1.0, 20.0)
    alone = predictor(state(), BOUNDS[:, 1:2], given)
    beside = torch.cat([BOUNDS, torch.tensor([[[12.0, 45.5]]])], dim=1)
    among = predictor(state(), beside, given)
    torch.testing.assert_close(among[:, 1:2], alone, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(among[:, 4], among[:, 1])


def test_usual_care_is_not_an_empty_plan_and_sees_no_action(predictor: Predictor):
    usual = predictor(state(), BOUNDS, Plan.usual_care(state()))
    unseen = plan(1.0, 20.0)
    ungiven = Plan(unseen.actions, unseen.days, unseen.is_action, torch.tensor([False]))
    torch.testing.assert_close(predictor(state(), BOUNDS, ungiven), usual, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(predictor(state(), BOUNDS, plan()), usual)


def test_padding_of_the_plan_is_not_seen(predictor: Predictor):
    given = plan(1.0, 20.0)
    padded = Plan(
        torch.cat([given.actions, torch.full((1, 2, SMALL.width), 7.0)], dim=1),
        torch.cat([given.days, torch.zeros(1, 2)], dim=1),
        torch.tensor([[True, True, False, False]]),
        given.is_given,
    )
    torch.testing.assert_close(
        predictor(state(), BOUNDS, padded), predictor(state(), BOUNDS, given), atol=1e-6, rtol=1e-6
    )


def test_everybody_sees_something():
    seen = visibility(plan(3.0, 1.0), BOUNDS[..., 1])
    assert seen.any(-1).all()
    assert not seen[:, 1, 2 + 1 :].any()


def test_the_state_changes_the_answer_and_the_heads_differ(predictor: Predictor):
    one, other = (predictor(state(seed), BOUNDS, plan()) for seed in (1, 9))
    assert not torch.allclose(one, other)
    assert one.shape == (1, 4, SMALL.num_heads, SMALL.latent)
    assert not torch.allclose(one[:, :, 0], one[:, :, 1])


@torch.no_grad()
def test_a_plan_costs_what_its_parts_say_and_each_plan_as_if_alone(model: Jepa):
    series = model.from_features.in_features // NUM_FEATURES
    reading = Reading(state(), torch.zeros(1, series, NUM_FEATURES))
    num = model.readouts.num_numeric
    goals = Goals(
        low=torch.full((num,), torch.nan),
        high=torch.full((num,), -3.0),
        risk_weights=torch.ones(len(FORETOLD)),
        horizon_weights=torch.ones(4),
        burden_per_action=0.1,
    )
    plans = [plan(1.0, 20.0), plan(1.0, 20.0, seed=8)]
    both = Plan(*(torch.cat(parts) for parts in zip(*map(fields_of, plans), strict=True)))
    energy, parts = model.cost(reading, BOUNDS, both, goals)
    torch.testing.assert_close(parts.sum(1), energy)
    assert parts.shape == (2, len(PARTS))
    assert (parts[:, 2] == 0.2).all()
    assert (parts[:, 0] > 0).all()
    alone, _ = model.cost(reading, BOUNDS, plans[1], goals)
    torch.testing.assert_close(alone[0], energy[1], atol=1e-5, rtol=1e-5)
    lax = Goals(
        low=goals.low,
        high=torch.full((num,), torch.nan),
        risk_weights=goals.risk_weights,
        horizon_weights=goals.horizon_weights,
    )
    assert (model.cost(reading, BOUNDS, both, lax)[1][:, 0] == 0).all()


def fields_of(each: Plan) -> tuple[torch.Tensor, ...]:
    return (each.actions, each.days, each.is_action, each.is_given)
