"""Every competitor of the table, learned from one split: the same rows in, log odds out.

Each result is a kept part named by split, seed and competitor. Whatever is fitted here is fitted to the
stays learned from; of those asked about only the record is read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from clinical.worldmodel.config import LossConfig
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.randomness import initialise
from pipelines.evaluation.baselines import gru_d, trees
from pipelines.evaluation.baselines.next_event import NextEventConfig, sized_like
from pipelines.evaluation.baselines.next_event_training import train_next_event
from pipelines.evaluation.figures import Floats
from pipelines.evaluation.icu.finetuning import FineTuning, fine_tune
from pipelines.evaluation.icu.lessons import RECORDED_HOURS, StayLessons
from pipelines.evaluation.icu.others import grid_of, last_hidden
from pipelines.evaluation.icu.parts import Parts
from pipelines.evaluation.icu.readouts import probe_logits
from pipelines.evaluation.icu.splits import Split
from pipelines.evaluation.icu.states import States, states_of
from pipelines.evaluation.icu.summaries import demographics, summaries
from pipelines.evaluation.icu.values import Course, course, tree_medians
from pipelines.training.recipes import Recipe
from pipelines.training.train import train

FROZEN = ("last", "pooled", "with_series")
"""What a probe may be fitted to; which one the table shows is chosen inside the training set."""
BOOSTED = trees.TreeConfig(share_of_columns=0.2)
"""Trees over summaries and latents: few columns at each split, for the latents are many and alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large the table is; the test makes it tiny."""

    recipe: Recipe
    tuning: FineTuning = field(default_factory=FineTuning)
    gru: gru_d.GruDConfig = field(default_factory=gru_d.GruDConfig)
    num_folds: int = 3
    seeds: tuple[int, ...] = (0, 1, 2)
    num_draws: int = 20
    num_next_event_steps: int = 2200
    """Of the transformer: as many as cost what the world model's pretraining costs. Side by side on an
    H200 one of its steps took 55 ms where one of ours took 97."""


def grounding_only(loss: LossConfig) -> LossConfig:
    """The same objective without its latent terms."""
    return replace(loss, latent=0.0)


@dataclass(frozen=True)
class Arms:
    """The competitors of one split under one seed."""

    split: Split
    sizes: Sizes
    parts: Parts
    seed: int
    device: str = "cpu"
    """Where networks learn; they are asked on the CPU."""

    def has(self, *parts: str) -> bool:
        """Whether all these parts of this split and seed were computed."""
        return all(self.parts.has(self._name(part)) for part in parts)

    def _name(self, what: str) -> str:
        return f"{self.split.name}/{self.seed}/{what}"

    def _kept(self, what: str, compute: Callable[[], Floats]) -> Floats:
        name = self._name(what)
        return self.parts.arrays(name, lambda: {"logits": compute()})["logits"]

    def _untrained(self) -> Jepa:
        model = Jepa(self.sizes.recipe.model, self.split.learned.vocabulary)
        initialise(model, torch.Generator().manual_seed(self.seed))
        return model.eval()

    def network(self, arm: str = "latent") -> Jepa:
        """Pretrained on the record of those learned from: with `latent` terms, by `grounding` alone, or not."""
        if arm == "untrained":
            return self._untrained()
        return self.parts.model(
            self._name(arm), self._untrained(), lambda state: self._pretrained(arm, state)
        )

    def _pretrained(self, arm: str, state: Path) -> Jepa:
        split, recipe = self.split, replace(self.sizes.recipe, seed=self.seed)
        if arm == "grounding":
            recipe = replace(recipe, loss=grounding_only(recipe.loss))
        # As many epochs whatever the number of stays.
        share = len(split.places) / max(len(split.places), len(split.learned))
        recipe = replace(recipe, num_steps=max(1, round(recipe.num_steps * share)))
        lessons = StayLessons(recipe, split.learned, split.places)
        name = self._name(arm)

        def watch(progress: object) -> None:
            step, losses = progress.step, progress.losses  # type: ignore[attr-defined]
            if step % 20 == 0 or step == recipe.num_steps:
                told = " ".join(f"{k} {v:.3f}" for k, v in losses.items())
                self.parts.say(f"{name}: step {step} of {recipe.num_steps}, {told}")

        model = train(
            recipe,
            lessons,
            split.learned.vocabulary,
            device=self.device,
            watch=watch,
            state_file=state,
        )
        self.parts.learned_on(self.device)
        return model.to("cpu")

    def states(self, arm: str = "latent") -> tuple[States, States]:
        """Of those learned from, and of those asked about."""
        held = self.parts.arrays(self._name(f"{arm}-states"), lambda: self._states(arm))
        found = {key: torch.from_numpy(value) for key, value in held.items()}
        return (
            States(found["learned"], found["learned_series"]),
            States(found["asked"], found["asked_series"]),
        )

    def _states(self, arm: str) -> dict[str, Floats]:
        model, split = self.network(arm), self.split
        learned = states_of(model, split.learned, split.places)
        asked = states_of(model, split.asked, split.asked_places)
        found = {
            "learned": learned.state,
            "learned_series": learned.series,
            "asked": asked.state,
            "asked_series": asked.series,
        }
        return {key: value.numpy() for key, value in found.items()}

    def frozen(self, arm: str = "latent") -> dict[str, Floats]:
        """A probe of each kind of state."""
        return self.parts.arrays(self._name(f"{arm}-frozen"), lambda: self._frozen(arm))

    def _frozen(self, arm: str) -> dict[str, Floats]:
        learned, asked = self.states(arm)
        return {
            kind: probe_logits(doubles(learned, kind), self.split.died, doubles(asked, kind))
            for kind in FROZEN
        }

    def finetuned(self, arm: str = "latent") -> dict[str, Floats]:
        """The network taught the outcome; `[n, hours]`. From `untrained` it is supervised only."""
        return self.parts.arrays(self._name(f"{arm}-finetuned"), lambda: self._finetuned(arm))

    def _finetuned(self, arm: str) -> dict[str, Floats]:
        split, tuning = self.split, replace(self.sizes.tuning, seed=self.seed)
        if arm == "untrained":  # learns faster from nothing, and overfits after five epochs
            epochs = min(5, tuning.num_epochs)
            tuning = replace(tuning, learning_rate=2 * tuning.learning_rate, num_epochs=epochs)
        clinician = fine_tune(
            self.network(arm), split.learned, split.places, split.taught, tuning, self.device
        )
        found = clinician.log_odds(split.asked, split.asked_places)
        return {"hours": found.double().numpy()}

    def course(self) -> tuple[Course, Course]:
        """The values of the second day of those learned from and of those asked about."""
        held = self.parts.arrays(self._name("course"), self._course)
        return tuple(  # type: ignore[return-value]
            Course(*(held[f"{who}_{part}"] for part in ("truth", "last", "quantiles")))
            for who in ("learned", "asked")
        )

    def _course(self) -> dict[str, Floats]:
        model, split = self.network(), self.split
        found = {
            "learned": course(model, split.learned, split.places),
            "asked": course(model, split.asked, split.asked_places),
        }
        return {
            f"{who}_{part}": value
            for who, each in found.items()
            for part, value in each.arrays().items()
        }

    @cached_property
    def tables(self) -> tuple[Floats, Floats]:
        """The summaries of the record's 48 hours."""
        held = self.parts.arrays(
            f"{self.split.name}/summaries",
            lambda: {
                "learned": summaries(self.split.learned, RECORDED_HOURS, self.split.places),
                "asked": summaries(self.split.asked, RECORDED_HOURS, self.split.asked_places),
            },
        )
        return held["learned"], held["asked"]

    def trees(self) -> Floats:
        """Boosted trees on the summaries."""
        return self._kept("trees", self._trees)

    def _trees(self) -> Floats:
        learned, asked = self.tables
        return trees.risk_logits(learned, self.split.died, asked, seed=self.seed)

    def boosted(self) -> Floats:
        """Boosted trees on the summaries and the frozen, pooled states."""
        return self._kept("boosted", self._boosted)

    def _boosted(self) -> Floats:
        states = self.states()
        learned, asked = (
            np.concatenate([table, doubles(state, "pooled")], axis=1)
            for table, state in zip(self.tables, states, strict=True)
        )
        return trees.risk_logits(learned, self.split.died, asked, seed=self.seed, config=BOOSTED)

    def last_values(self) -> Floats:
        """A regression on the last values, age and sex."""
        return self._kept("last-values", self._last_values)

    def _last_values(self) -> Floats:
        num_series = len(self.split.learned.vocabulary.numeric)
        sides = (
            (self.split.learned, self.split.places),
            (self.split.asked, self.split.asked_places),
        )
        learned, asked = (
            np.concatenate([table[:, :num_series], demographics(*side)], axis=1)
            for table, side in zip(self.tables, sides, strict=True)
        )
        return probe_logits(learned, self.split.died, asked, strength=0.03)

    def gru_d(self) -> Floats:
        """GRU-D, taught by the labels alone."""
        return self._kept("gru-d", self._gru_d)

    def _gru_d(self) -> Floats:
        split, config = self.split, replace(self.sizes.gru, seed=self.seed)
        learned = grid_of(split.learned, split.places)
        asked = grid_of(split.asked, split.asked_places)
        return gru_d.risk_logits(learned, split.taught.died, asked, config).double().numpy()

    def next_event(self) -> Floats:
        """A probe of the last hidden state of a next-event transformer of as many parameters."""
        return self._kept("next-event", self._next_event)

    def _next_event(self) -> Floats:
        split, vocabulary = self.split, self.split.learned.vocabulary
        recipe = replace(
            self.sizes.recipe, seed=self.seed, num_steps=self.sizes.num_next_event_steps
        )
        size = sum(weight.numel() for weight in self._untrained().parameters())
        config = sized_like(
            size, vocabulary, NextEventConfig(clock_days=recipe.model.clock_days, max_events=512)
        )
        name = self._name("next-event")
        model = train_next_event(
            recipe,
            StayLessons(recipe, split.learned, split.places),
            vocabulary,
            config,
            device=self.device,
            watch=lambda progress: self.parts.say(f"{name}: step {progress.step}"),
        )
        model.to(self.device)
        learned = last_hidden(model, split.learned, split.places, self.device)
        asked = last_hidden(model, split.asked, split.asked_places, self.device)
        return probe_logits(learned, split.died, asked)

    def tree_medians(self) -> Floats:
        """Trees for each series and window."""
        learned, asked = self.course()
        name = f"{self.split.name}/tree-medians"
        return self.parts.arrays(
            name, lambda: {"medians": tree_medians(self.split, learned, asked)}
        )["medians"]


def doubles(states: States, kind: str) -> Floats:
    """One kind of state as a table."""
    table: Floats = getattr(states, kind).double().numpy()
    return table
