"""One confounding and one seed: patients drawn, everything fitted, and its errors on all tests.

Says what belongs together in a comparison: the same patients, the same questions, and for both arms of
the latent loss the same first weights, lessons and steps.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import product

import numpy as np
from safetensors.torch import load_file, save_file

from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.tensorize import Tensorizer
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.evaluation.tumour import baselines, planning, records
from pipelines.evaluation.tumour.cohort import Cohort
from pipelines.evaluation.tumour.counterfactuals import (
    LONGEST,
    Generator,
    Question,
    Trial,
    draw_test,
)
from pipelines.evaluation.tumour.learner import Forecaster, TumourLessons, begun_later, joined
from pipelines.evaluation.tumour.learner import recipe as recipe_of
from pipelines.evaluation.tumour.parts import Arrays, Parts, packed, unpacked
from pipelines.evaluation.tumour.scores import Errors
from pipelines.evaluation.tumour.simulator import (
    NUM_DAYS,
    Courses,
    Floats,
    draw_luck,
    draw_patients,
    factual,
)
from pipelines.training.recipes import Recipe
from pipelines.training.train import Progress, train

ARMS = {"ours": 1.0, "without latent loss": 0.0}
"""The weight of the latent loss of each arm."""
CHEAP = ("persistence", "filter", "floor")
TREES, TREES_AS_PUBLISHED = "trees", "trees, records as published"
LATE = "day 1 on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the experiment is."""

    num_patients: int = 10_000
    num_test_patients: int = 1_000
    num_days: int = NUM_DAYS
    share_of_days: float = 0.25  # of the test patients' later days that sliding plans are asked of
    num_steps: int = 1000
    tree_rows: int = 60_000
    tree_steps_as_published: tuple[int, ...] = (1, LONGEST)
    num_planned: int = 60
    steps_asked: tuple[int, ...] = field(default=baselines.STEPS)


class Experiment:
    """What is shared by all methods of one `gamma` and `seed`; nothing is computed before it is needed."""

    def __init__(
        self, gamma: float, seed: int, size: Size, parts: Parts, say: Callable[[str], None]
    ) -> None:
        self.gamma, self.seed = gamma, seed
        self._size, self._parts, self._say = size, parts, say

    @property
    def name(self) -> str:
        """The start of the names of its parts."""
        return f"g{self.gamma:g}-s{self.seed}"

    @cached_property
    def courses(self) -> Courses:
        """Those that are learned from; the generators of the test have no part in them."""
        generator = np.random.default_rng([self.seed, 0])
        patients = draw_patients(self._size.num_patients, generator)
        luck = draw_luck(len(patients), self._size.num_days, generator)
        return factual(patients, luck, self.gamma)

    @cached_property
    def both_beginnings(self) -> Courses:
        """The courses, and the same with the records begun a day later."""
        return joined(self.courses, begun_later(self.courses))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Of the courses that are learned from."""
        return records.vocabulary_of(self.courses)

    @cached_property
    def trials(self) -> dict[tuple[Generator, Question], Trial]:
        """All tests; without confounding both generators give the same one."""
        return {
            (kind, question): self._trial(kind, question)
            for kind, question in product(Generator, Question)
        }

    def _trial(self, kind: Generator, question: Question) -> Trial:
        number = 1 + list(Question).index(question)
        generator = np.random.default_rng([self.seed, number])
        patients = draw_patients(self._size.num_test_patients, generator)
        trial = draw_test(patients, question, self.gamma, generator, kind, self._size.num_days)
        luck = np.random.default_rng([self.seed, 10 + number]).random(
            (len(patients), self._size.num_days)
        )
        day = trial.asked.day
        is_asked = luck[trial.asked.patient, day] < self._share(question)
        # Day 0, with no history, makes most of the error: all of it is asked about, and weighted.
        return replace(trial, asked=trial.asked.of(is_asked | (day == 0)))

    def _share(self, question: Question) -> float:
        return self._size.share_of_days if question is Question.SLIDING else 1.0

    def cheap(self) -> dict[str, Errors]:
        """Persistence, the filter and the floor; by method, generator, question and days."""
        return unpacked(self._parts.get(f"{self.name}-cheap", self._cheap))

    def _cheap(self) -> Arrays:
        self._say(f"{self.name}: persistence, filter, floor")
        generator = np.random.default_rng([self.seed, 3])
        told = baselines.Filter.of(draw_patients(self._size.num_patients, generator))
        methods = {
            "persistence": baselines.persistence,
            "filter": told.answers,
            "floor": baselines.floor,
        }
        found: dict[str, Errors] = {}
        for name, answer in methods.items():
            found |= self._errors(name, answer)
        return packed(found)

    def trees(self) -> dict[str, Errors]:
        """Boosted trees, given the same courses as the model is; and given those as published."""
        return unpacked(self._parts.get(f"{self.name}-trees", self._trees))

    def _trees(self) -> Arrays:
        found: dict[str, Errors] = {}
        for name, steps, courses in (
            (TREES, self._size.steps_asked, self.both_beginnings),
            (TREES_AS_PUBLISHED, self._size.tree_steps_as_published, self.courses),
        ):
            self._say(f"{self.name}: {name}")
            fitted = baselines.Trees(steps, max_rows=self._size.tree_rows, seed=self.seed)
            found |= self._errors(name, fitted.fit(courses).answers)
        return packed(found)

    def is_kept(self) -> bool:
        """Whether everything of this gamma and seed was computed before."""
        names = [(f"{self.name}-cheap", ""), (f"{self.name}-trees", "")]
        for arm in ARMS:
            also = repr(asdict(self.recipe(arm)))
            names += [(self._named(arm), also), (self._named(f"plans {arm}"), also)]
        return all(self._parts.path(name, also=also).exists() for name, also in names)

    def _named(self, what: str) -> str:
        return f"{self.name}-{what.replace(' ', '-')}"

    def arm(self, arm: str) -> dict[str, Errors]:
        """The world model, with or without its latent loss."""
        recipe = self.recipe(arm)
        return unpacked(
            self._parts.get(self._named(arm), lambda: self._arm(arm), also=repr(asdict(recipe)))
        )

    def recipe(self, arm: str) -> Recipe:
        """How an arm is trained."""
        return recipe_of(self.seed, num_steps=self._size.num_steps, latent=ARMS[arm])

    def _arm(self, arm: str) -> Arrays:
        forecaster = self.forecaster(arm)
        self._say(f"{self.name}: asking {arm}")
        return packed(
            self._errors(arm, lambda trial: forecaster.answers(trial.courses, trial.asked))
        )

    def plans(self, arm: str) -> Arrays:
        """What plans made with an arm truly cost, and what others do."""
        recipe = self.recipe(arm)
        name = self._named(f"plans {arm}")
        return self._parts.get(name, lambda: self._plans(arm), also=repr(asdict(recipe)))

    def _plans(self, arm: str) -> Arrays:
        self._say(f"{self.name}: planning with {arm}")
        trial = self.trials[Generator.CORRECTED, Question.SLIDING]
        usable = np.nonzero(trial.courses.volume[trial.asked.patient, trial.asked.day] > 1.0)[0]
        generator = np.random.default_rng([self.seed, 4])
        rows = generator.choice(usable, self._size.num_planned, replace=False)
        judged = planning.judge(self.forecaster(arm), trial, np.sort(rows))
        return {name: getattr(judged, name) for name in ("oracle", "model", "never", "always")}

    def forecaster(self, arm: str) -> Forecaster:
        """The trained model of an arm; where its weights were kept, nothing is trained."""
        recipe = self.recipe(arm)
        weights = self._parts.path(
            self._named(arm), also=repr(asdict(recipe)), suffix=".safetensors"
        )
        model = Jepa(recipe.model, self.vocabulary)
        if not weights.exists():
            weights.parent.mkdir(parents=True, exist_ok=True)
            save_file(self._trained(arm, recipe).state_dict(), weights)
        model.load_state_dict(load_file(weights))
        return Forecaster(model, self.vocabulary)

    def _trained(self, arm: str, recipe: Recipe) -> Jepa:
        cohort = self._cohort
        state = self._parts.path(self._named(arm), also=repr(asdict(recipe)), suffix=".state")
        model = train(
            recipe,
            TumourLessons(recipe, cohort),
            self.vocabulary,
            watch=lambda progress: self._watch(arm, progress),
            state_file=state,
        )
        state.unlink(missing_ok=True)
        return model

    @cached_property
    def _cohort(self) -> Cohort:
        return Cohort(self.both_beginnings, Tensorizer(self.vocabulary))

    def _watch(self, arm: str, progress: Progress) -> None:
        if progress.step % 25 == 0:
            loss = progress.losses["means"]
            self._say(
                f"{self.name}: {arm}, step {progress.step} of {progress.num_steps}, {loss:.4f}"
            )

    def _errors(self, method: str, answer: Callable[[Trial], Floats]) -> dict[str, Errors]:
        found: dict[str, Errors] = {}
        for (kind, question), trial in self.trials.items():
            if kind is Generator.REFERENCE and self.gamma == 0:
                other = {key: found[key] for key in _keys(method, Generator.CORRECTED, question)}
                found |= {key.replace("corrected", "reference"): e for key, e in other.items()}
                continue
            answers = answer(trial)
            num, late = len(trial.patients), trial.asked.day > 0
            weights = np.where(late, 1.0, self._share(question))
            whole, from_day_1 = _keys(method, kind, question)
            found[whole] = Errors.of(answers, trial.asked, num, weights)
            found[from_day_1] = Errors.of(answers[late], trial.asked.of(late), num)
        return found


def _keys(method: str, kind: Generator, question: Question) -> tuple[str, str]:
    return f"{method}|{kind}|{question}", f"{method}|{kind}|{question}|{LATE}"
