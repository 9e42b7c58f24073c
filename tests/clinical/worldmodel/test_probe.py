"""Probes: a weighted sum of the standardised state, and a file that cannot be mistaken."""

import pytest
import torch

from clinical.worldmodel.probe import MalformedProbesError, Probe, Probes

PROBE = Probe(name="death", mean=(1.0, -2.0), scale=(2.0, 0.5), weights=(0.5, 3.0), bias=-1.0)


def test_the_log_odds_are_the_weighted_sum_of_the_standardised_state() -> None:
    states = torch.tensor([[1.0, -2.0], [3.0, -2.0], [1.0, -1.5]])
    assert PROBE.log_odds(states).tolist() == pytest.approx([-1.0, -0.5, 2.0])


def test_what_is_written_is_read_again() -> None:
    probes = Probes(outcomes=(PROBE,), behaviour=(PROBE, PROBE))
    assert Probes.from_json(probes.to_json()) == probes


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"outcomes":[{}],"behaviour":[]}', Probes(outcomes=(PROBE,)).to_json()[:-9]],
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(MalformedProbesError):
        Probes.from_json(text)


def test_weights_of_another_length_are_refused() -> None:
    text = Probes(outcomes=(PROBE,)).to_json().replace("[0.5,3.0]", "[0.5]")
    with pytest.raises(MalformedProbesError):
        Probes.from_json(text)
