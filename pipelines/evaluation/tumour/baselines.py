"""What people would use instead, on the same questions: no change, trees, a filter, and the truth itself.

Each answers with the expected volume (cm³) on each day of each plan, `[n, S]`. Only the filter is told
the growth equation, and only the floor the patient's own parameters.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from pipelines.evaluation.tumour.counterfactuals import LONGEST, Trial
from pipelines.evaluation.tumour.simulator import (
    ALPHA_OVER_BETA,
    CAPACITY_CM3,
    NOISE_SD,
    RADIO_DOSE,
    Courses,
    Flags,
    Floats,
    Patients,
    grown,
    next_concentration,
)

NUM_TREES = 150
_KILLED_PER_ALPHA = RADIO_DOSE + RADIO_DOSE**2 / ALPHA_OVER_BETA


def persistence(test: Trial) -> Floats:
    """The last volume, whatever is done."""
    asked = test.asked
    last = test.courses.volume[asked.patient, asked.day]
    return np.asarray(np.repeat(last[:, None], np.shape(asked.truth)[1], axis=1))


def floor(test: Trial) -> Floats:
    """The growth equation with each patient's own parameters and no noise: nobody can do better."""
    return _rolled(test.patients.of(test.asked.patient), test)


def _rolled(patients: Patients, test: Trial) -> Floats:
    asked = test.asked
    volume = test.courses.volume[asked.patient, asked.day]
    held = np.where(asked.day > 0, test.concentration[asked.patient, asked.day - 1], 0.0)
    answers = np.empty(asked.chemo.shape)
    for step in range(asked.chemo.shape[1]):
        held = next_concentration(held, asked.chemo[:, step])
        volume = grown(patients, volume, held, asked.radio[:, step], np.zeros(len(volume)))
        # On paper a volume may fall below zero, from where it cannot be grown on.
        answers[:, step] = volume
        volume = volume.clip(min=0.0)
    return answers


@dataclass(frozen=True, slots=True)
class Filter:
    """Linear-Gaussian inference of rho, beta_c and alpha from the relative change of each day.

    `V[t+1] / V[t] - 1` is linear in them, with noise of a known size; the prior is the mean and the
    covariance of the population. Its forecast rolls the growth equation with the posterior mean.
    """

    mean: Floats
    covariance: Floats

    @classmethod
    def of(cls, population: Patients) -> "Filter":
        """With the prior of these patients."""
        table = np.stack([population.rho, population.beta_c, population.alpha], axis=1)
        return cls(table.mean(axis=0), np.cov(table.T))

    def answers(self, test: Trial) -> Floats:
        """The expected volumes of every question."""
        asked = test.asked
        inferred = self.posterior(test.courses, test.concentration)[asked.patient, asked.day]
        rho, beta_c, alpha = inferred.T
        patients = test.patients.of(asked.patient)
        return _rolled(Patients(patients.volume, alpha, rho, beta_c, patients.kind), test)

    def posterior(self, courses: Courses, concentration: Floats) -> Floats:
        """The mean of (rho, beta_c, alpha) given the volumes up to each day, `[n, T, 3]`."""
        before, after = courses.volume[:, :-1], courses.volume[:, 1:]
        is_seen = np.arange(before.shape[1]) < (courses.last - courses.is_capped)[:, None]
        is_seen &= before > 0
        safe = np.where(is_seen, before, 1.0)
        change = np.where(is_seen, after / safe - 1, 0.0)
        causes = np.stack(
            [
                np.log(CAPACITY_CM3 / safe),
                -concentration[:, :-1],
                -_KILLED_PER_ALPHA * courses.radio[:, :-1],
            ],
            axis=2,
        )
        causes = causes * is_seen[:, :, None]
        known = np.einsum("nti,ntj->ntij", causes, causes).cumsum(axis=1) / NOISE_SD**2
        found = (causes * change[:, :, None]).cumsum(axis=1) / NOISE_SD**2
        prior = np.linalg.inv(self.covariance)
        known = np.pad(known, ((0, 0), (1, 0), (0, 0), (0, 0))) + prior
        found = np.pad(found, ((0, 0), (1, 0), (0, 0))) + prior @ self.mean
        solved: Floats = np.linalg.solve(known, found[..., None])[..., 0]
        return solved


def features(courses: Courses, patient: NDArray[np.int64], day: NDArray[np.int64]) -> Floats:
    """What a clinician would tabulate of a response to treatment, `[n, 16]`; nan where there is none.

    Volume and its logarithm, day, type, the last three changes, and of the days after no treatment,
    chemotherapy alone, radiotherapy alone and both: the mean change, and how many there were; last,
    the drug still held, as a sum of the doses halved each day.
    """
    volume, num_days = courses.volume, courses.volume.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        change = volume[:, 1:] / volume[:, :-1] - 1
    change = np.nan_to_num(change, nan=0.0, posinf=0.0)
    columns = [
        volume[patient, day],
        np.log(volume[patient, day].clip(min=1e-6)),
        day,
        courses.kind[patient],
    ]
    padded = np.pad(change, ((0, 0), (3, 0)), constant_values=np.nan)
    columns += [padded[patient, day + 3 - back] for back in (1, 2, 3)]
    given = courses.chemo[:, :-1] + 2 * courses.radio[:, :-1]
    for option in range(4):
        here = given == option
        count = np.pad(here.cumsum(axis=1), ((0, 0), (1, 0)))[patient, day]
        total = np.pad((change * here).cumsum(axis=1), ((0, 0), (1, 0)))[patient, day]
        columns += [np.where(count > 0, total / count.clip(min=1), np.nan), count]
    held = np.zeros((len(volume), num_days))
    for past in range(1, num_days):
        held[:, past] = (held[:, past - 1] + courses.chemo[:, past - 1]) / 2
    columns.append(held[patient, day])
    return np.stack(columns, axis=1).astype(np.float64)


def plan_features(chemo: Flags, radio: Flags) -> Floats:
    """Of a plan up to a day: treatments so far, those of the last day, the drug then held, `[n, 5]`."""
    held = np.zeros(len(chemo))
    for step in range(chemo.shape[1]):
        held = held / 2 + chemo[:, step]
    columns = [chemo.sum(1), radio.sum(1), chemo[:, -1], radio[:, -1], held]
    return np.stack(columns, axis=1).astype(np.float64)


class Trees:
    """Boosted trees, one model for each number of days ahead, of the change relative to the volume.

    Weighted by the squared volume, so that what is made small is the error that is reported.
    """

    def __init__(self, steps: tuple[int, ...], *, max_rows: int, seed: int) -> None:
        self._steps = steps
        self._max_rows = max_rows
        self._seed = seed
        self._models: dict[int, HistGradientBoostingRegressor] = {}

    def fit(self, courses: Courses) -> "Trees":
        """Learn from at most `max_rows` days, drawn from all of those with the days ahead on record."""
        generator = np.random.default_rng(self._seed)
        for step in self._steps:
            days = np.arange(courses.volume.shape[1])
            patient, day = np.nonzero((days + step <= courses.last[:, None]) & (courses.volume > 0))
            if len(patient) > self._max_rows:
                kept = generator.choice(len(patient), self._max_rows, replace=False)
                patient, day = patient[kept], day[kept]
            ahead = day[:, None] + np.arange(step)
            plan = plan_features(
                courses.chemo[patient[:, None], ahead], courses.radio[patient[:, None], ahead]
            )
            now = courses.volume[patient, day]
            table = np.concatenate([features(courses, patient, day), plan], axis=1)
            change = courses.volume[patient, day + step] / now - 1
            model = HistGradientBoostingRegressor(
                max_iter=NUM_TREES, learning_rate=0.1, max_leaf_nodes=31, random_state=self._seed
            )
            self._models[step] = model.fit(table, change, sample_weight=now**2)
        return self

    def answers(self, test: Trial) -> Floats:
        """The expected volumes of every question; nan for numbers of days that were not learned."""
        asked = test.asked
        known = features(test.courses, asked.patient, asked.day)
        now = test.courses.volume[asked.patient, asked.day]
        answers = np.full(asked.truth.shape, np.nan)
        for step, model in self._models.items():
            if step > asked.truth.shape[1]:
                continue
            plan = plan_features(asked.chemo[:, :step], asked.radio[:, :step])
            change = model.predict(np.concatenate([known, plan], axis=1))
            answers[:, step - 1] = now * (1 + change)
        return answers


STEPS = tuple(range(1, LONGEST + 1))
