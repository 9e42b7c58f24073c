"""The questions of the test: what would the volume be under each treatment, and what it then is.

Two generators. The *corrected* one lets the doctor look at the patient's own tumour. The
*reference-compatible* one repeats, on purpose, a fault of the published generator, so that its table
can be compared with: every counterfactual is a row of one stacked table, and the policy of patient
i reads row i of that table, which belongs to some earlier patient. The fault is here and nowhere
else; what is learned from is the same for both.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.tumour.simulator import (
    LETHAL_CM3,
    LOOK_BACK_DAYS,
    Courses,
    Flags,
    Floats,
    Luck,
    Patients,
    diameter_of,
    draw_luck,
    grown,
    is_recovered,
    next_concentration,
    treated,
)

LONGEST = 6
"""Days ahead of the last observed volume, at most."""
FIRST_OF_SLIDING = 2


class Generator(StrEnum):
    """Whose tumour the doctor of the test patients looks at."""

    CORRECTED = "corrected"
    REFERENCE = "reference"


class Question(StrEnum):
    """What is asked: all four treatments of today, or one treatment on one of the next days."""

    ONE_STEP = "one_step"
    SLIDING = "sliding"


@dataclass(frozen=True, slots=True)
class Asked:
    """`n` questions: the patient's record up to the volume of `day`, a plan, and what comes of it.

    `chemo[:, s]` and `radio[:, s]` are given on `day + s`, `truth[:, s]` is the volume (cm³) on
    `day + s + 1`, with the noise that it really has; it may be negative, as in the published test.
    """

    patient: NDArray[np.int64]
    day: NDArray[np.int64]
    chemo: Flags
    radio: Flags
    truth: Floats

    def __len__(self) -> int:
        return len(self.patient)

    def of(self, rows: NDArray[np.int64] | Flags) -> Self:
        """Some of them."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Trial:
    """Test patients, what really happened to them, and what is asked of them."""

    patients: Patients
    courses: Courses
    concentration: Floats
    asked: Asked


def draw_test(
    patients: Patients,
    question: Question,
    gamma: float,
    generator: np.random.Generator,
    kind: Generator,
    num_days: int = 60,
) -> Trial:
    """The courses of these patients and the questions about them."""
    luck = draw_luck(len(patients), num_days + LONGEST, generator)
    if kind is Generator.CORRECTED:
        courses, concentration = _run(patients, luck, gamma, num_days, None)
    else:
        courses, concentration = _run_by_stack(patients, luck, gamma, num_days, question)
    asked = _ask(question, patients, luck, courses, concentration)
    return Trial(patients, courses, concentration, asked)


def _run(
    patients: Patients, luck: Luck, gamma: float, num_days: int, looked_at: Floats | None
) -> tuple[Courses, Floats]:
    """Courses treated from day 0 on; `looked_at` is what the doctor sees instead of the volume.

    Returns the drug's concentration `[n, T]` beside them.
    """
    num = len(patients)
    volume, concentration = np.zeros((2, num, num_days))
    volume[:, 0] = patients.volume
    chemo, radio = np.zeros((2, num, num_days), dtype=np.bool_)
    going, last = np.ones(num, dtype=np.bool_), np.full(num, num_days - 1)
    is_capped = np.zeros(num, dtype=np.bool_)
    for day in range(num_days - 1):
        seen = volume if looked_at is None else looked_at
        window = seen[:, max(day - LOOK_BACK_DAYS, 0) : day + 1]
        diameter = diameter_of(window).mean(axis=1)
        radio[:, day] = going & treated(diameter, luck.radio[:, day], gamma)
        chemo[:, day] = going & treated(diameter, luck.chemo[:, day], gamma)
        before = concentration[:, day - 1] if day else np.zeros(num)
        concentration[:, day] = next_concentration(before, chemo[:, day])
        new = grown(
            patients,
            volume[:, day],
            concentration[:, day],
            radio[:, day],
            luck.noise[:, day + 1],
        )
        new = new.clip(0.0, LETHAL_CM3)
        volume[:, day + 1] = np.where(going, new, 0.0)
        ends = going & ((new >= LETHAL_CM3) | is_recovered(new, luck.recovery[:, day]))
        last[ends], is_capped[ends] = day + 1, True
        going &= ~ends
    return Courses(volume, chemo, radio, last, patients.kind, is_capped), concentration


def _run_by_stack(
    patients: Patients, luck: Luck, gamma: float, num_days: int, question: Question
) -> tuple[Courses, Floats]:
    """The published fault: the policy of patient i reads row i of the stacked counterfactuals.

    The rows come patient after patient, so those that patients read are filled by the first few;
    these go one by one, the others all at once. The first patient, whose row is not yet there when
    he is treated, looks at his own.
    """
    num = len(patients)
    stack = np.zeros((0, num_days + LONGEST))
    done: list[tuple[Courses, Floats]] = []
    while len(stack) < num and len(done) < num:
        here = slice(len(done), len(done) + 1)
        seen = stack[here] if len(stack) else None
        done.append(_run(patients.of(here), luck.of(here), gamma, num_days, seen))
        asked = _ask(question, patients.of(here), luck.of(here), *done[-1])
        stack = np.concatenate([stack, _stacked(question, done[-1][0], asked, stack.shape[1])])
    if len(done) < num:
        rest = slice(len(done), num)
        seen = stack[rest.start : num]
        done.append(_run(patients.of(rest), luck.of(rest), gamma, num_days, seen))
    return _joined([courses for courses, _ in done]), np.concatenate([c for _, c in done])


def _stacked(question: Question, courses: Courses, asked: Asked, width: int) -> Floats:
    """The rows that one patient adds to the table: the record so far, then what was asked."""
    rows = np.zeros((len(asked), width))
    for row, (day, truth) in enumerate(zip(asked.day, asked.truth, strict=True)):
        rows[row, : day + 1] = courses.volume[0, : day + 1]
        rows[row, day + 1 : day + 1 + len(truth)] = truth
    if question is Question.ONE_STEP:
        _put_given_first(rows, courses, asked)
    return rows


def _put_given_first(rows: Floats, courses: Courses, asked: Asked) -> None:
    """Of the four rows of a day, that of the treatment really given stands first."""
    given = (asked.chemo[:, 0] == courses.chemo[0, asked.day]) & (
        asked.radio[:, 0] == courses.radio[0, asked.day]
    )
    order = np.lexsort((np.arange(len(rows)), ~given, asked.day))
    rows[:] = rows[order]


def _joined(parts: list[Courses]) -> Courses:
    return Courses(
        *(
            np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Courses)
        )
    )


def _ask(
    question: Question,
    patients: Patients,
    luck: Luck,
    courses: Courses,
    concentration: Floats,
) -> Asked:
    """Every question about every day of every course that has a day after it."""
    patient, day = np.nonzero(np.arange(courses.volume.shape[1] - 1) < courses.last[:, None])
    chemo, radio = _plans(question)
    num, num_plans = len(patient), len(chemo)
    patient, day = np.repeat(patient, num_plans), np.repeat(day, num_plans)
    chemo, radio = np.tile(chemo, (num, 1)), np.tile(radio, (num, 1))
    if question is Question.SLIDING:
        chemo[:, 0], radio[:, 0] = courses.chemo[patient, day], courses.radio[patient, day]
    truth = unfolded(patients, luck, courses, concentration, (patient, day, chemo, radio))
    asked = Asked(patient, day, chemo, radio, truth)
    # The published generator skips what it cannot grow on from: a volume that went below zero.
    return asked.of(np.nonzero(~np.isnan(truth).any(axis=1))[0])


def _plans(question: Question) -> tuple[Flags, Flags]:
    """Chemotherapy and radiotherapy on each day of each plan, in the published order."""
    if question is Question.ONE_STEP:
        options = np.array([(0, 0), (0, 1), (1, 0), (1, 1)], dtype=np.bool_)
        return options[:, :1], options[:, 1:]
    one = np.eye(LONGEST - 1, dtype=np.bool_)
    none, first = np.zeros_like(one), np.zeros((2 * len(one), 1), dtype=np.bool_)
    chemo, radio = np.concatenate([one, none]), np.concatenate([none, one])
    return np.concatenate([first, chemo], axis=1), np.concatenate([first, radio], axis=1)


def unfolded(
    patients: Patients,
    luck: Luck,
    courses: Courses,
    concentration: Floats,
    asked: tuple[NDArray[np.int64], NDArray[np.int64], Flags, Flags],
) -> Floats:
    """The true volumes under each plan, `[n, S]`; nan after a volume below zero."""
    patient, day, chemo, radio = asked
    who = patients.of(patient)
    volume = courses.volume[patient, day]
    held = np.where(day > 0, concentration[patient, day - 1], 0.0)
    truth = np.empty(chemo.shape)
    for step in range(chemo.shape[1]):
        held = next_concentration(held, chemo[:, step])
        noise = luck.noise[patient, day + step + 1]
        volume = grown(who, volume, held, radio[:, step], noise)
        if step == 0:  # what really happened is on record, between nothing and the lethal volume
            is_given = (chemo[:, 0] == courses.chemo[patient, day]) & (
                radio[:, 0] == courses.radio[patient, day]
            )
            volume = np.where(is_given, volume.clip(0.0, LETHAL_CM3), volume)
        truth[:, step] = volume
    return truth
