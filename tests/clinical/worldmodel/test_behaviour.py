"""How usual an action is: read from the probe of its name and window, and counted in the energy."""

import math

import pytest
import torch

from clinical.worldmodel.behaviour import behaviour_of, probe_name, support_window
from clinical.worldmodel.costing import PARTS, Goals, energy, missed
from clinical.worldmodel.families import FORETOLD
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.probe import Probe, Probes, Prognosis
from clinical.worldmodel.readout import RawReadouts
from tests.clinical.worldmodel.conftest import SMALL


def _probe(name: str, bias: float) -> Probe:
    width = SMALL.width
    zeros, ones = (0.0,) * width, (1.0,) * width
    return Probe(name=name, mean=zeros, scale=ones, weights=zeros, bias=bias)


def _prognosis(name: str) -> Prognosis:
    return Prognosis(name=name, start_days=0.0, end_days=90.0, heads=(_probe(name, 4.0),))


def test_an_action_is_asked_of_the_probe_of_its_name_and_window() -> None:
    assert support_window(SMALL).label == "0-90 d"
    probes = Probes(
        behaviour=(_probe(probe_name("a|1", SMALL), 2.0), _probe("a|2|0-365 d", 3.0)),
        outcomes=(_prognosis(probe_name("a|3", SMALL)),),
    )
    found = behaviour_of(probes, ("a|1", "a|2", "a|3"), SMALL, torch.zeros(1, SMALL.width))
    assert found.log_odds == {"a|1": 2.0}


def _raw(num: int, quantile: float, intensity: float) -> RawReadouts:
    shape = (num, 4, SMALL.num_heads)
    return RawReadouts(
        torch.full((*shape, 2, 5), quantile),
        torch.zeros(*shape, 2),
        torch.full((*shape, len(FORETOLD)), intensity),
    )


def _goals(**changes: float) -> Goals:
    return Goals(
        low=torch.tensor([math.nan, -1.0]),
        high=torch.tensor([1.0, math.nan]),
        risk_weights=torch.tensor([1.0, 0.0, 0.0, 0.0]),
        horizon_weights=torch.full((4,), 0.25),
        **changes,
    )


def test_each_part_of_the_energy_is_what_its_name_says() -> None:
    """Two plans of one action each; by hand: 3 above one goal, half a chance of one event."""
    plan = Plan(
        torch.zeros(2, 1, SMALL.width),
        torch.zeros(2, 1),
        torch.ones(2, 1, dtype=torch.bool),
        torch.ones(2, dtype=torch.bool),
    )
    latents = torch.zeros(2, 4, SMALL.num_heads, SMALL.latent)
    goals = _goals(behaviour_weight=0.5, burden_per_action=0.1)
    total, parts = energy(latents, _raw(2, 4.0, math.log(2)), plan, goals, torch.tensor([0.0, 2.0]))
    expected = dict(zip(PARTS, parts[1].tolist(), strict=True))
    assert expected == pytest.approx(
        {"goals": 3.0, "risks": 0.5, "burden": 0.1, "disagreement": 0.0, "behaviour": 1.0}
    )
    assert total.tolist() == pytest.approx([3.6, 4.6])
    assert energy(latents, _raw(2, 4.0, 0.0), plan, goals)[1][:, 4].tolist() == [0.0, 0.0]


def test_energy_is_summed_over_horizons_and_not_taken_from_the_last() -> None:
    raw = _raw(1, 0.0, 0.0)
    raw.quantiles[0, 0, :, 0] = 2.0  # outside its goal by one, in the first window alone
    assert (missed(raw, _goals()).mean(-1)[0] == torch.tensor([1.0, 0.0, 0.0, 0.0])).all()
    none = Plan.usual_care(torch.zeros(1, SMALL.width))
    latents = torch.zeros(1, 4, SMALL.num_heads, SMALL.latent)
    assert energy(latents, raw, none, _goals())[0].tolist() == pytest.approx([0.25])
