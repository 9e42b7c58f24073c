"""`clinical bench icu`: the whole table, in the order that keeps it honest.

1. The folds of the training set; what is chosen, is chosen there and written down.
2. Training set → test set, several seeds: log odds for stays whose outcomes nobody has read.
3. Only then the outcomes of the test set, once, and the rows.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from clinical.errors import RejectedError
from pipelines.evaluation.benchmark_file import BenchmarkRow
from pipelines.evaluation.icu.arms import Arms, Sizes
from pipelines.evaluation.icu.choice import Choice, choose
from pipelines.evaluation.icu.finetuning import Taught
from pipelines.evaluation.icu.parts import Parts
from pipelines.evaluation.icu.rows import Answers, all_rows
from pipelines.evaluation.icu.splits import Split, fold, folds_of, taught_by, whole
from pipelines.evaluation.icu.stays import StaySet, kept, read_set
from pipelines.evaluation.icu.values import value_weight
from pipelines.icu.challenge import StayOutcome, read_outcomes
from pipelines.training.recipes import Recipe, recipe

LEARNED, ASKED = "set-a", "set-b-open"
LEARNED_OUTCOMES, ASKED_OUTCOMES = "Outcomes-a.txt", "Outcomes-b-open.txt"
NUM_STEPS, STAYS_PER_STEP, QUESTIONS_PER_STAY = 400, 48, 4
"""Of pretraining: the recipe's network, sized so that all its runs fit into the hour."""


class MissingDataError(RejectedError):
    """The folder lacks a file of the challenge, or the table of outcomes lacks a stay."""

    code = "evaluation.missing_data"


@dataclass(frozen=True)
class Table:
    """The data in `folder`, the sizes, and where finished parts are kept."""

    folder: Path
    sizes: Sizes
    parts: Parts

    def archive(self, name: str) -> Path:
        """A set of stays: a folder or an archive of that name."""
        for path in (self.folder / name, self.folder / f"{name}.tar.gz"):
            if path.exists():
                return path
        raise MissingDataError(f"there is no {name} in the folder")

    def learned(self) -> StaySet:
        """The training set."""
        recipe, path = self.sizes.recipe, self.archive(LEARNED)
        return kept(self._kept(path), lambda: read_set(path, recipe.model, recipe.vocabulary))

    def asked(self, learned: StaySet) -> StaySet:
        """The test set, read by the vocabulary of the training set; no outcome is read."""
        recipe, path = self.sizes.recipe, self.archive(ASKED)
        return kept(
            self._kept(path),
            lambda: read_set(path, recipe.model, recipe.vocabulary, learned.vocabulary),
        )

    def outcomes(self, name: str, stays: StaySet) -> list[StayOutcome]:
        """Of every stay, in order."""
        path = self.folder / name
        if not path.exists():
            raise MissingDataError(f"there is no {name} in the folder")
        known = read_outcomes(path)
        if missing := set(stays.record_ids) - set(known):
            raise MissingDataError(f"{name} has no outcome for {len(missing)} stays")
        return [known[record_id] for record_id in stays.record_ids]

    def _kept(self, path: Path) -> Path:
        return self.parts.folder.parent / f"{path.name.partition('.')[0]}.safetensors"


def parts_in(folder: Path, sizes: Sizes, say: Callable[[str], None]) -> Parts:
    """Parts of other sizes are other parts: they are kept apart by a digest of the sizes."""
    digest = hashlib.sha256(repr(_chosen(sizes)).encode()).hexdigest()[:12]
    return Parts(folder / digest, say)


def _chosen(value: Any) -> Any:
    """What differs from the defaults, so that a new field of some configuration makes no new table."""
    if not is_dataclass(value):
        return value
    held = {field.name: (field, getattr(value, field.name)) for field in fields(value)}
    return {
        name: _chosen(own)
        for name, (field, own) in held.items()
        if own != (field.default_factory() if callable(field.default_factory) else field.default)
    }


def run(folder: Path, cache: Path, sizes: Sizes, say: Callable[[str], None]) -> list[BenchmarkRow]:
    """Measure; all rows of the table."""
    table = Table(folder, sizes, parts_in(cache, sizes, say))
    learned = table.learned()
    taught = taught_by(table.outcomes(LEARNED_OUTCOMES, learned))
    folds = fold_arms(table, learned, taught)
    choice = chosen(table, folds, taught)
    asked = table.asked(learned)
    arms = whole_arms(table, whole(learned, taught, asked))
    answers = Answers.of(arms, choice, sizes)
    # From here on the outcomes of the test set are known, and nothing is fitted any more.
    died = [float(each.died_in_hospital) for each in table.outcomes(ASKED_OUTCOMES, asked)]
    return all_rows(answers, choice, torch.tensor(died).double().numpy(), sizes)


def fold_arms(table: Table, learned: StaySet, taught: Taught) -> list[Arms]:
    """One seed a fold; a fold's network sees only the stays that the fold learns from."""
    held_out = folds_of(taught.died.numpy(), table.sizes.num_folds, seed=0)
    return [
        Arms(fold(learned, taught, places, f"fold-{k}"), table.sizes, table.parts, seed=k)
        for k, places in enumerate(held_out)
    ]


def whole_arms(table: Table, split: Split) -> list[Arms]:
    """Training set → test set, one for each seed."""
    return [Arms(split, table.sizes, table.parts, seed) for seed in table.sizes.seeds]


def chosen(table: Table, folds: Sequence[Arms], taught: Taught) -> Choice:
    """The choice, written down beside the parts."""
    died = taught.died.numpy().astype("float64")
    weight = value_weight(folds[0].course()[1], folds[0].tree_medians())
    choice = choose(folds, died, weight)
    choice.save(table.parts.folder / "choice.json")
    return choice


def sizes(num_steps: int | None = None) -> Sizes:
    """Those of the table, for an hour on two idle cores; `num_steps` of pretraining in place of its own."""
    found = recipe("icu-small")
    table = Recipe(
        name=found.name,
        model=replace(found.model, max_actions=1),  # the data set holds none
        loss=found.loss,
        corruption=found.corruption,
        vocabulary=found.vocabulary,
        num_steps=num_steps or NUM_STEPS,
        patients_per_step=STAYS_PER_STEP,
        questions_per_patient=QUESTIONS_PER_STAY,
    )
    return Sizes(recipe=table)
