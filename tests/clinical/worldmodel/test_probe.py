"""Probes: a weighted sum of the standardised state, and a file that cannot be mistaken."""

from dataclasses import replace

import pytest
import torch

from clinical.worldmodel.probe import MalformedProbesError, Probe, Probes, Prognosis

PROBE = Probe(name="death", mean=(1.0, -2.0), scale=(2.0, 0.5), weights=(0.5, 3.0), bias=-1.0)
PROGNOSIS = Prognosis(
    name="Death in hospital", start_days=0.0, end_days=None, heads=(PROBE, replace(PROBE, bias=1.0))
)


def test_the_log_odds_are_the_weighted_sum_of_the_standardised_state() -> None:
    states = torch.tensor([[1.0, -2.0], [3.0, -2.0], [1.0, -1.5]])
    assert PROBE.log_odds(states).tolist() == pytest.approx([-1.0, -0.5, 2.0])


def test_what_is_written_is_read_again() -> None:
    probes = Probes(outcomes=(PROGNOSIS,), behaviour=(PROBE, PROBE))
    assert Probes.from_json(probes.to_json()) == probes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"outcomes":[{}],"behaviour":[]}',
        Probes(outcomes=(PROGNOSIS,)).to_json()[:-9],
    ],
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(MalformedProbesError):
        Probes.from_json(text)


def test_weights_of_another_length_are_refused() -> None:
    text = Probes(outcomes=(PROGNOSIS,)).to_json().replace("[0.5,3.0]", "[0.5]")
    with pytest.raises(MalformedProbesError):
        Probes.from_json(text)


def test_an_outcome_has_the_odds_of_each_head_and_speaks_of_its_window() -> None:
    states = torch.tensor([[1.0, -2.0], [3.0, -2.0]], requires_grad=True)
    odds = PROGNOSIS.log_odds(states)
    assert odds.tolist() == [[-1.0, 1.0], [-0.5, 1.5]]
    (slope,) = torch.autograd.grad(odds.sum(), states)
    assert slope[0].tolist() == [0.5, 12.0]
    assert PROGNOSIS.key == "Death in hospital|until discharge"
    week = replace(PROGNOSIS, start_days=0.5, end_days=7.0)
    assert week.key == "Death in hospital|12-168 h"


def test_an_outcome_without_a_probe_is_refused() -> None:
    text = Probes(outcomes=(replace(PROGNOSIS, heads=()),)).to_json()
    with pytest.raises(MalformedProbesError):
        Probes.from_json(text)
