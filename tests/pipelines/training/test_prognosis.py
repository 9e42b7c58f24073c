"""An outcome read from states: found where it is there, calibrated, every patient counted once."""

from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from clinical.prediction.horizon import UNTIL_DISCHARGE
from clinical.worldmodel.config import AbstentionLimits
from pipelines.training.calibrate import platt_of
from pipelines.training.outcome_card import outcome_section
from pipelines.training.prognosis import (
    States,
    fit_familiarity_of,
    fit_prognosis,
    log_odds,
    outcome_figures,
)
from pipelines.training.setting import Labelled

LABELLED = Labelled(
    name="Death in hospital",
    horizon=UNTIL_DISCHARGE,
    labels={},
    since=datetime(2012, 1, 1, tzinfo=UTC),
    hours=(12.0, 24.0),
)
WIDTH = 6


def states(num: int, seed: int, *, strength: float = 2.0) -> States:
    """Two questions a patient; the first dimension of the state tells the outcome."""
    generator = np.random.default_rng(seed)
    own = generator.normal(size=(num, WIDTH))
    had = generator.random(num) < 1 / (1 + np.exp(-(strength * own[:, 0] - 1.0)))
    state = np.repeat(own, 2, axis=0) + 0.1 * generator.normal(size=(2 * num, WIDTH))
    patient = np.repeat(np.arange(num), 2)
    return States(state, patient, np.tile([12.0, 24.0], num), np.repeat(had, 2))


def test_a_signal_in_the_state_is_found_calibrated_and_told_with_its_interval() -> None:
    prognosis, penalty = fit_prognosis(states(1500, 0), LABELLED, seed=0)
    assert penalty > 0
    held = states(1500, 1)
    rows = zip(
        held.patient.tolist(), log_odds(prognosis, held).tolist(), held.had.tolist(), strict=True
    )
    platt = platt_of(list(rows), AbstentionLimits(), "t")
    assert platt is not None
    assert platt.num_patients == 1500
    figures = outcome_figures(prognosis, platt, states(1500, 2), 0.3, seed=0)
    assert [f.hour for f in figures] == [12.0, 24.0]
    for told in figures:
        assert told.auroc_95[0] < told.auroc < told.auroc_95[1]
        assert told.auroc > 0.8
        assert 0.8 < told.slope < 1.2
        assert told.brier < told.brier_base_rate
        assert sum(b.count for b in told.reliability) == told.num_patients == 1500
    text = "\n".join(outcome_section(figures, prognosis, platt))
    assert f"{figures[0].auroc:.3f}" in text
    assert f"{sum(h.weights[0] for h in prognosis.heads) / 5:+.3f}" in text


def test_without_a_signal_nothing_is_found() -> None:
    prognosis, _ = fit_prognosis(states(400, 0, strength=0.0), LABELLED, seed=0)
    score, held = log_odds(prognosis, states(400, 1, strength=0.0)), states(400, 1, strength=0.0)
    ranks = score.argsort().argsort()[held.had].mean() / len(score)
    assert 0.4 < ranks < 0.6


def test_the_same_states_and_seed_give_the_same_probes() -> None:
    first, second = (fit_prognosis(states(200, 0), LABELLED, seed=4)[0] for _ in range(2))
    assert first == second
    assert len({head.bias for head in first.heads}) == len(first.heads)
    assert fit_prognosis(states(200, 0), LABELLED, seed=5)[0] != first


def test_a_patient_asked_often_counts_once() -> None:
    held = states(50, 0)
    assert held.weight.sum() == pytest.approx(50)
    rows = np.concatenate([np.arange(100), np.zeros(30, dtype=int)])
    more = States(held.state[rows], held.patient[rows], held.hour[rows], held.had[rows])
    assert more.weight.sum() == pytest.approx(50)


def test_what_is_far_from_the_training_patients_is_unfamiliar() -> None:
    familiarity = fit_familiarity_of(states(300, 0), states(300, 1))
    assert familiarity is not None
    near, far = torch.zeros(1, WIDTH), torch.full((1, WIDTH), 9.0)
    assert float(familiarity.distance(near)[0]) < 1 < float(familiarity.distance(far)[0])
