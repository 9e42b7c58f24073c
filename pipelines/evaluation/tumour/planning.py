"""Plans made with a learned model, judged by the true simulator against the best there is.

Wanted is a small tumour over the next six days with little treatment: a plan costs the mean volume
of those days in units of the volume now, and `BURDEN` for every treatment. Plans are four choices
(nothing, chemotherapy, radiotherapy, both) on each day. Regret is what the chosen plan truly costs,
without noise, above what the cheapest of all 4,096 plans does.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clinical.worldmodel.jepa import Reading
from clinical.worldmodel.search import Choices, beam
from pipelines.evaluation.tumour.counterfactuals import LONGEST, Trial
from pipelines.evaluation.tumour.learner import Forecaster
from pipelines.evaluation.tumour.simulator import Flags, Floats, grown, next_concentration

BURDEN = 0.05
NUM_CHOICES = 4
BEAM_WIDTH = 16
NEVER, ALWAYS = (0,) * LONGEST, (3,) * LONGEST


@dataclass(frozen=True, slots=True)
class Judged:
    """What the plans for `n` patients truly cost, by who made them."""

    oracle: Floats
    model: Floats
    never: Floats
    always: Floats


def treatments(plans: np.ndarray) -> tuple[Flags, Flags]:
    """Chemotherapy and radiotherapy of plans written as choices 0 to 3."""
    return np.asarray(plans % 2 == 1), np.asarray(plans >= 2)


def cost_of(volumes: Floats, now: Floats, plans: np.ndarray) -> Floats:
    """Of each plan, from the volumes (cm³) that it leads to."""
    chemo, radio = treatments(plans)
    burden = BURDEN * (chemo.sum(axis=1) + radio.sum(axis=1))
    return np.asarray((volumes / now[:, None]).mean(axis=1) + burden)


def judge(forecaster: Forecaster, trial: Trial, rows: np.ndarray) -> Judged:
    """Plan for the patients and days of these questions, and judge the plans."""
    asked = trial.asked.of(rows)
    reading = forecaster.readings(trial.courses, asked.patient, asked.day)
    every = np.stack(np.meshgrid(*[np.arange(NUM_CHOICES)] * LONGEST, indexing="ij"), axis=-1)
    every = every.reshape(-1, LONGEST)
    costs = []
    for place, row in enumerate(rows):
        truth = _true_costs(trial, int(row), every)
        now = trial.courses.volume[asked.patient[place], asked.day[place]]
        one = Reading(reading.state[place : place + 1], reading.features[place : place + 1])
        found = beam(
            partial(_foretold, forecaster, one, float(now)),
            Choices(sizes=(NUM_CHOICES,) * LONGEST),
            width=BEAM_WIDTH,
        )
        chosen = np.array([found.best.numpy(), NEVER, ALWAYS])
        places = (chosen * NUM_CHOICES ** np.arange(LONGEST - 1, -1, -1)).sum(axis=1)
        costs.append([truth.min(), *truth[places]])
    return Judged(*np.array(costs).T)


def _foretold(
    forecaster: Forecaster, reading: Reading, now: float, plans: Int[Tensor, "n S"]
) -> Float[Tensor, " n"]:
    table, num = plans.numpy(), len(plans)
    same = Reading(reading.state.expand(num, -1), reading.features.expand(num, -1, -1))
    volumes = forecaster.volumes(same, *treatments(table))
    return torch.from_numpy(cost_of(volumes, np.full(num, now), table))


def _true_costs(trial: Trial, row: int, plans: np.ndarray) -> Floats:
    """What each plan really leads to for the patient of question `row`, without noise."""
    num = len(plans)
    patient, day = int(trial.asked.patient[row]), int(trial.asked.day[row])
    who = trial.patients.of(np.full(num, patient))
    now = np.full(num, trial.courses.volume[patient, day])
    held = np.full(num, trial.concentration[patient, day - 1] if day else 0.0)
    chemo, radio = treatments(plans)
    volume, volumes = now, np.empty(plans.shape)
    for step in range(LONGEST):
        held = next_concentration(held, chemo[:, step])
        volume = grown(who, volume, held, radio[:, step], np.zeros(num)).clip(min=0.0)
        volumes[:, step] = volume
    return cost_of(volumes, now, plans)
