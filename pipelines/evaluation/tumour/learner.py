"""The product's world model on tumours: its recipe, what it learns from, and what it foretells.

Knows records and plans. Does not know the simulator's parameters, nor what is true of a plan.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clinical.worldmodel.config import LossConfig, ModelConfig
from clinical.worldmodel.grounding import Lesson
from clinical.worldmodel.jepa import Jepa, Reading
from clinical.worldmodel.learning import Corruption
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.tensorize import Tensorizer
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.evaluation.tumour import records
from pipelines.evaluation.tumour.cohort import Cohort, prototypes
from pipelines.evaluation.tumour.counterfactuals import LONGEST, Asked
from pipelines.evaluation.tumour.records import ASKED_AT, START_DAY
from pipelines.evaluation.tumour.simulator import Courses, Flags, Floats
from pipelines.training.recipes import Recipe

WINDOWS = tuple((float(day), float(day + 1)) for day in range(LONGEST))
_PATIENTS_AT_ONCE = 250
_QUESTIONS_AT_ONCE = 4000
_CHEMO, _RADIO = 5, 6  # places among `prototypes`


def recipe(seed: int, *, num_steps: int = 1000, latent: float = 1.0) -> Recipe:
    """Under 100,000 parameters; `latent` 0 leaves the latent loss out, all else being equal."""
    return Recipe(
        name="tumour",
        model=ModelConfig(
            width=40,
            latent=8,  # a day holds little: what a wide Gaussian would have to be filled with is noise
            predictor_width=24,
            num_heads=1,
            num_buckets=records.NUM_BUCKETS,
            projector_width=64,
            windows_days=WINDOWS,
            dropout=0.0,
            max_actions=2 * LONGEST,
            num_attention_heads=2,
            means_of=(records.VOLUME.key,),
        ),
        loss=LossConfig(
            latent=latent, regulariser=0.05, num_directions=32, grounding=0.1, means=200.0
        ),
        corruption=Corruption(exact_code=0.0, modality=0.0, plan=0.1),
        num_steps=num_steps,
        patients_per_step=32,
        questions_per_patient=6,
        learning_rate=3e-3,
        warm_up_steps=30,
        averaged_share=0.2,
        seed=seed,
    )


def begun_later(courses: Courses) -> Courses:
    """The same patients, had their records begun a day later.

    Nobody is treated on the first day of a published training course, yet the test asks what
    treatment on the first day of a record does. Before day 1 nothing was given, so a record that
    begins then is as good a first day as any.
    """
    rows = np.nonzero(courses.last > 1)[0]
    late = courses.of(rows)
    return replace(
        late,
        volume=_moved(late.volume),
        chemo=_moved(late.chemo),
        radio=_moved(late.radio),
        last=late.last - 1,
    )


def _moved(table: NDArray[Any]) -> NDArray[Any]:
    return np.pad(table[:, 1:], ((0, 0), (0, 1)))


def joined(one: Courses, other: Courses) -> Courses:
    """Both, one after the other."""
    names = ("volume", "chemo", "radio", "last", "kind", "is_capped")
    return Courses(*(np.concatenate([getattr(one, n), getattr(other, n)]) for n in names))


class TumourLessons:
    """Questions on days of some patients, early days as often as late ones."""

    def __init__(self, recipe: Recipe, cohort: Cohort) -> None:
        self._recipe = recipe
        self._cohort = cohort
        self._bounds = torch.tensor(WINDOWS, dtype=torch.float32)

    def __call__(self, generator: torch.Generator) -> Lesson:
        """The questions of one step."""
        size = self._recipe.patients_per_step
        rows = torch.randint(len(self._cohort), (size,), generator=generator)
        per_patient = self._recipe.questions_per_patient
        luck = torch.rand(2, size, per_patient, generator=generator, dtype=torch.float64)
        last = torch.from_numpy(self._cohort.courses.last)[rows][:, None]
        uniform = (luck[1] * last).floor()
        early = ((1 + last) ** luck[1] - 1).floor()
        day = torch.where(luck[0] < 0.5, uniform, early).flatten()
        row = torch.arange(size).repeat_interleave(per_patient)
        batch = self._cohort.batch(rows.numpy())
        num = len(day)
        return Lesson(
            context=batch,
            row=row,
            day=START_DAY + day + ASKED_AT,
            future=batch,
            future_row=row,
            may_enter=torch.ones(len(batch.event_concept), dtype=torch.bool),
            bounds=self._bounds.expand(num, -1, -1),
            followed_days=(last.flatten()[row] - day).float(),
            bootstrap=torch.ones(num, self._recipe.model.num_heads),
        )


class Forecaster:
    """A trained model, asked for expected volumes (cm³)."""

    def __init__(self, model: Jepa, vocabulary: Vocabulary) -> None:
        self.model = model.eval()
        self.tensorizer = Tensorizer(vocabulary)
        self._scale = vocabulary.scales[records.VOLUME.key]
        with torch.inference_mode():
            vectors = model.embedding(prototypes(self.tensorizer))
        self._treatments = vectors[[_CHEMO, _RADIO]]

    @torch.inference_mode()
    def readings(
        self, courses: Courses, patient: NDArray[np.int64], day: NDArray[np.int64]
    ) -> Reading:
        """The patients at noon of the days asked, before that day's treatments."""
        cohort = Cohort(courses, self.tensorizer)
        parts: list[tuple[NDArray[np.int64], Reading]] = []
        for start in range(0, len(courses), _PATIENTS_AT_ONCE):
            rows = np.arange(start, min(start + _PATIENTS_AT_ONCE, len(courses)))
            mine = np.nonzero((patient >= start) & (patient < start + _PATIENTS_AT_ONCE))[0]
            if not len(mine):
                continue
            batch = cohort.batch(rows)
            encoded = self.model.encode(batch)
            when = torch.from_numpy(START_DAY + day[mine] + ASKED_AT)
            row = torch.from_numpy(patient[mine] - start)
            parts.append((mine, self.model.read(batch, encoded, row, when)))
        order = torch.from_numpy(np.argsort(np.concatenate([mine for mine, _ in parts])))
        return Reading(
            torch.cat([reading.state for _, reading in parts])[order],
            torch.cat([reading.features for _, reading in parts])[order],
        )

    @torch.inference_mode()
    def volumes(self, reading: Reading, chemo: Flags, radio: Flags) -> Floats:
        """The expected volume on each day of each plan, one plan per question."""
        parts = []
        for start in range(0, len(chemo), _QUESTIONS_AT_ONCE):
            some = slice(start, start + _QUESTIONS_AT_ONCE)
            part = Reading(reading.state[some], reading.features[some])
            parts.append(self._some(part, chemo[some], radio[some]))
        return np.concatenate(parts)

    def _some(self, reading: Reading, chemo: Flags, radio: Flags) -> Floats:
        assert self.model.means is not None
        num, reach = chemo.shape
        bounds = torch.tensor(WINDOWS[:reach]).expand(num, -1, -1)
        plan = self.plan(chemo, radio)
        latents = self.model.predictor(reading.state, bounds, plan)
        expected = self.model.means(latents, reading.state, reading.features, bounds, plan)
        z = expected[:, :, :, 0].mean(2).double().numpy()
        return np.asarray(self._scale.mean + self._scale.sd * z)

    def plan(self, chemo: Flags, radio: Flags) -> Plan:
        """Treatments given on each of the next days, as the predictor sees them."""
        num, reach = chemo.shape
        days = torch.arange(reach, dtype=torch.float32) + ASKED_AT
        vectors = self._treatments.repeat_interleave(reach, dim=0)
        given = torch.from_numpy(np.concatenate([chemo, radio], axis=1))
        return Plan(
            vectors.expand(num, -1, -1),
            days.repeat(2).expand(num, -1),
            given,
            torch.ones(num, dtype=torch.bool),
        )

    def answers(self, courses: Courses, asked: Asked) -> Floats:
        """The expected volumes of every question, `[n, S]`."""
        keys, back = np.unique(asked.patient * 1000 + asked.day, return_inverse=True)
        reading = self.readings(courses, keys // 1000, keys % 1000)
        rows: Tensor = torch.from_numpy(back)
        return self.volumes(
            Reading(reading.state[rows], reading.features[rows]), asked.chemo, asked.radio
        )
