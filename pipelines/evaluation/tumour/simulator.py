"""The tumour of Geng et al. (2017), the patients who have one, and doctors who treat by its size.

The growth and its constants are those of Geng et al. (Sci. Rep. 7, 13002), as used for sequential
treatment effects by Lim et al. (2018), Bica et al. (2020) and Melnychuk et al. (2022):

    V[t+1] = V[t] (1 + rho log(K / V[t]) - beta_c C[t] - alpha d[t] - beta d[t]^2 + e[t+1])
    C[t]   = C[t-1] / 2 + 5 where chemotherapy is given on day t,   d[t] = 2 where radiotherapy is

with volumes in cm³, the concentration halving in a day, `e` of standard deviation .01, and each
treatment given with probability `sigmoid(gamma / 13 (D - 6.5))`, where D is the mean diameter (cm)
that the doctor looks at. Knows nothing of forecasts.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

NUM_DAYS = 60
LOOK_BACK_DAYS = 15
CHEMO_DOSE, RADIO_DOSE = 5.0, 2.0
NOISE_SD = 0.01
CELLS_PER_CM3 = 5.8e8
LARGEST_CM = 13.0
CAPACITY_CM = 30.0
NUM_TYPES = 3

# Stage: patients seen, then mean, sd and bounds of log diameter's normal (bounds in cm).
_STAGES = (
    (1432, 1.72, 4.70, 0.3, 5.0),
    (128, 1.96, 1.63, 0.3, 13.0),
    (1306, 1.91, 9.40, 0.3, 13.0),
    (7248, 2.76, 6.87, 0.3, 13.0),
    (12840, 3.86, 8.82, 0.3, 13.0),
)
ALPHA_MEAN, ALPHA_SD = 0.0398, 0.168
RHO_MEAN, RHO_SD = 7e-5, 7.23e-3
ALPHA_RHO_CORRELATION = 0.87
BETA_C_MEAN, BETA_C_SD = 0.028, 0.0007
ALPHA_OVER_BETA = 10.0
_TYPE_SHIFT = 0.1  # of the mean: radiotherapy for type 1, chemotherapy for type 3


def volume_of(diameter: Floats | float) -> Floats:
    """Of a sphere, cm to cm³."""
    return np.asarray(np.pi / 6 * np.asarray(diameter, dtype=np.float64) ** 3)


def diameter_of(volume: Floats) -> Floats:
    """Of a sphere, cm³ to cm; nan for a negative volume, which the published generators can make."""
    with np.errstate(invalid="ignore"):
        return np.asarray((volume * 6 / np.pi) ** (1 / 3))


LETHAL_CM3 = float(volume_of(LARGEST_CM))
CAPACITY_CM3 = float(volume_of(CAPACITY_CM))


@dataclass(frozen=True, slots=True)
class Patients:
    """`n` patients: what is true of each and never seen, and the volume at the start."""

    volume: Floats
    alpha: Floats
    rho: Floats
    beta_c: Floats
    kind: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.volume)

    def of(self, rows: NDArray[np.int64] | slice) -> Self:
        """Some of them, or one of them many times."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Luck:
    """All chance of `n` courses, drawn before they run so that two generators can share it."""

    noise: Floats
    recovery: Floats
    chemo: Floats
    radio: Floats

    def of(self, rows: NDArray[np.int64] | slice) -> Self:
        """That of some courses."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Courses:
    """What happened to `n` patients on `T` days; days after `last` are not on record.

    Treatment of day t acts on the volume of day t + 1. `is_capped` says that the volume of the last
    day is the bound at which the record stops, not what the growth came to.
    """

    volume: Floats
    chemo: Flags
    radio: Flags
    last: NDArray[np.int64]
    kind: NDArray[np.int64]
    is_capped: Flags

    def __len__(self) -> int:
        return len(self.volume)

    def of(self, rows: NDArray[np.int64] | slice) -> Self:
        """Some of them."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


def draw_patients(num: int, generator: np.random.Generator) -> Patients:
    """Patients of all stages, their parameters correlated as published."""
    seen = np.array([stage[0] for stage in _STAGES], dtype=np.float64)
    stage = generator.choice(len(_STAGES), size=num, p=seen / seen.sum())
    diameter = np.empty(num)
    for number, (_, mean, sd, low, high) in enumerate(_STAGES):
        here = stage == number
        bounds = (np.log(low), np.log(high))
        diameter[here] = np.exp(_accepted(int(here.sum()), generator, (mean, sd), bounds))
    alpha, rho = _responses(num, generator)
    kind = generator.integers(1, NUM_TYPES + 1, size=num)
    alpha = alpha + ALPHA_MEAN * _TYPE_SHIFT * (kind == 1)
    beta_c = _accepted(num, generator, (BETA_C_MEAN, BETA_C_SD), (0.0, np.inf))
    beta_c = beta_c + BETA_C_MEAN * _TYPE_SHIFT * (kind == NUM_TYPES)
    return Patients(volume_of(diameter), alpha, rho, beta_c, kind)


def _accepted(
    num: int,
    generator: np.random.Generator,
    normal: tuple[float, float],
    bounds: tuple[float, float],
) -> Floats:
    """As many normal draws as asked, those outside the bounds thrown away."""
    kept = np.empty(0)
    while len(kept) < num:
        drawn = generator.normal(*normal, size=2 * num + 16)
        kept = np.concatenate([kept, drawn[(drawn > bounds[0]) & (drawn < bounds[1])]])
    return kept[:num]


def _responses(num: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
    shared = ALPHA_RHO_CORRELATION * ALPHA_SD * RHO_SD
    covariance = [[ALPHA_SD**2, shared], [shared, RHO_SD**2]]
    kept = np.empty((0, 2))
    while len(kept) < num:
        drawn = generator.multivariate_normal([ALPHA_MEAN, RHO_MEAN], covariance, size=num + 16)
        kept = np.concatenate([kept, drawn[(drawn > 0).all(axis=1)]])
    return kept[:num, 0], kept[:num, 1]


def draw_luck(num: int, num_days: int, generator: np.random.Generator) -> Luck:
    """The chance of `num` courses of `num_days`."""
    shape = (num, num_days)
    return Luck(
        generator.normal(0.0, NOISE_SD, shape),
        generator.random(shape),
        generator.random(shape),
        generator.random(shape),
    )


def grown(
    patients: Patients, volume: Floats, concentration: Floats, radio: Flags, noise: Floats
) -> Floats:
    """The volume (cm³) a day later; a tumour that is gone stays gone, a negative one is as it is."""
    dose = RADIO_DOSE * radio
    with np.errstate(invalid="ignore", divide="ignore"):
        growth = patients.rho * np.log(CAPACITY_CM3 / volume)
    growth = np.where(volume == 0, 0.0, growth)
    killed = patients.alpha * dose + patients.alpha / ALPHA_OVER_BETA * dose**2
    rate = growth - patients.beta_c * concentration - killed + noise
    return np.asarray(volume * (1 + rate))


def next_concentration(concentration: Floats, chemo: Flags) -> Floats:
    """Of the drug after half of it was lost and, where given, a dose came."""
    return np.asarray(concentration / 2 + CHEMO_DOSE * chemo)


def treated(mean_diameter: Floats, luck: Floats, gamma: float) -> Flags:
    """Whether a treatment is given; never where the diameter looked at is no number."""
    exponent = np.clip(-gamma / LARGEST_CM * (mean_diameter - LARGEST_CM / 2), -500, 500)
    with np.errstate(invalid="ignore"):
        return np.asarray(luck < 1 / (1 + np.exp(exponent)))


def is_recovered(volume: Floats, luck: Floats) -> Flags:
    """Whether the last cell died: all but sure once the volume is 0 or, on paper, below it."""
    return np.asarray(luck <= np.exp(-np.maximum(volume, 0.0) * CELLS_PER_CM3))


def factual(patients: Patients, luck: Luck, gamma: float) -> Courses:
    """Courses to learn from: treated from day 1 on by the diameters of the 15 days before.

    A course ends on the day on which the tumour kills (the volume is then written as the lethal one)
    or is gone (written as 0), else on day 59.
    """
    num, num_days = luck.noise.shape
    volume = np.zeros((num, num_days))
    volume[:, 0] = patients.volume
    chemo, radio = np.zeros((2, num, num_days), dtype=np.bool_)
    concentration, going = np.zeros(num), np.ones(num, dtype=np.bool_)
    last, is_capped = np.full(num, num_days - 1), np.zeros(num, dtype=np.bool_)
    for day in range(1, num_days):
        before = volume[:, day - 1]
        new = grown(patients, before, concentration, radio[:, day - 1], luck.noise[:, day])
        looked_at = diameter_of(volume[:, max(day - LOOK_BACK_DAYS, 0) : day]).mean(axis=1)
        radio[:, day] = going & treated(looked_at, luck.radio[:, day], gamma)
        chemo[:, day] = going & treated(looked_at, luck.chemo[:, day], gamma)
        concentration = next_concentration(concentration, chemo[:, day])
        dies = new > LETHAL_CM3
        recovers = ~dies & is_recovered(new, luck.recovery[:, day])
        new = np.where(dies, LETHAL_CM3, np.where(recovers, 0.0, new))
        volume[:, day] = np.where(going, new, 0.0)
        ends = going & (dies | recovers)
        last[ends], is_capped[ends] = day, True
        going &= ~ends
    return Courses(volume, chemo, radio, last, patients.kind, is_capped)
