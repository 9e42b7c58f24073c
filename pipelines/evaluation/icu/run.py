"""`clinical bench icu`: the whole table, in the order that keeps it honest.

1. The folds of the training set; what is chosen, is chosen there and written down.
2. Training set → test set, several seeds: log odds for stays whose outcomes nobody has read.
3. Only then the outcomes of the test set, once, and the rows.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from clinical.errors import RejectedError
from pipelines.evaluation.benchmark_file import FOLDER, BenchmarkRow
from pipelines.evaluation.icu.answers import Answers, mean_course
from pipelines.evaluation.icu.arms import Arms, Sizes
from pipelines.evaluation.icu.choice import Choice, choose
from pipelines.evaluation.icu.comparing import sampling_of
from pipelines.evaluation.icu.finetuning import Taught
from pipelines.evaluation.icu.parts import Parts
from pipelines.evaluation.icu.picture import picture
from pipelines.evaluation.icu.rows import all_rows
from pipelines.evaluation.icu.splits import Split, fold, folds_of, taught_by, whole
from pipelines.evaluation.icu.stays import StaySet, kept, read_set
from pipelines.evaluation.icu.values import value_weight
from pipelines.evaluation.metrics import reliability_curve
from pipelines.icu.challenge import StayOutcome, read_outcomes
from pipelines.training.recipes import Recipe, recipe

LEARNED, ASKED = "set-a", "set-b-open"
LEARNED_OUTCOMES, ASKED_OUTCOMES = "Outcomes-a.txt", "Outcomes-b-open.txt"
PICTURE = FOLDER / "docs" / "icu.svg"
NUM_STEPS, STAYS_PER_STEP, QUESTIONS_PER_STAY = 1250, 128, 2
"""Of pretraining, as in the design's probe: forty times through the stays."""


class MissingDataError(RejectedError):
    """The folder lacks a file of the challenge, or the table of outcomes lacks a stay."""

    code = "evaluation.missing_data"


@dataclass(frozen=True)
class Table:
    """The data in `folder`, the sizes, and where finished parts are kept."""

    folder: Path
    sizes: Sizes
    parts: Parts
    device: str = "cpu"

    def archive(self, name: str) -> Path:
        """A set of stays: a folder or an archive of that name."""
        for path in (self.folder / name, self.folder / f"{name}.tar.gz"):
            if path.exists():
                return path
        raise MissingDataError(f"there is no {name} in the folder")

    def learned(self) -> StaySet:
        """The training set."""
        recipe, path = self.sizes.recipe, self.archive(LEARNED)
        return kept(self._kept(path), path, lambda: read_set(path, recipe.model, recipe.vocabulary))

    def asked(self, learned: StaySet) -> StaySet:
        """The test set, read by the vocabulary of the training set; no outcome is read."""
        recipe, path = self.sizes.recipe, self.archive(ASKED)
        return kept(
            self._kept(path),
            path,
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
    digest = hashlib.sha256(repr(asdict(sizes)).encode()).hexdigest()[:12]
    return Parts(folder / digest, say)


@dataclass(frozen=True)
class Measured:
    """The rows, and their picture."""

    rows: list[BenchmarkRow]
    picture: str


def run(
    folder: Path,
    cache: Path,
    sizes: Sizes,
    say: Callable[[str], None],
    *,
    only_kept: bool = False,
    device: str = "cpu",
) -> Measured:
    """Measure; `only_kept` writes down what was computed so far, seeds that are not finished left out."""
    table = Table(folder, sizes, parts_in(cache, sizes, say), device)
    learned = table.learned()
    taught = taught_by(table.outcomes(LEARNED_OUTCOMES, learned))
    choice = chosen(table, fold_arms(table, learned, taught), taught, only_kept=only_kept)
    asked = table.asked(learned)
    arms = whole_arms(table, whole(learned, taught, asked))
    answers = Answers.of(arms, choice, sizes, only_kept=only_kept)
    # From here on the outcomes of the test set are known, and nothing is fitted any more.
    outcomes = table.outcomes(ASKED_OUTCOMES, asked)
    died = np.array([float(each.died_in_hospital) for each in outcomes])
    rows = all_rows(answers, choice, died, sizes, table.parts.about)
    chances = choice.calibrated(choice.shipped, answers.said[choice.shipped])
    return Measured(rows, picture(rows, reliability_curve(chances, died > 0, sampling_of(died))))


def fold_arms(table: Table, learned: StaySet, taught: Taught) -> list[list[Arms]]:
    """Those of each fold, one for each seed; a network sees only the stays that its fold learns from.

    As many seeds as in the table: a mean of several log odds is sharper than one alone, and must be
    weighed and calibrated as what it is.
    """
    held_out = folds_of(taught.died.numpy(), table.sizes.num_folds, seed=0)
    return [
        whole_arms(table, fold(learned, taught, places, f"fold-{k}"))
        for k, places in enumerate(held_out)
    ]


def whole_arms(table: Table, split: Split) -> list[Arms]:
    """One split, one for each seed."""
    return [Arms(split, table.sizes, table.parts, seed, table.device) for seed in table.sizes.seeds]


def chosen(
    table: Table, folds: Sequence[Sequence[Arms]], taught: Taught, *, only_kept: bool = False
) -> Choice:
    """The choice, written down beside the parts."""
    died = taught.died.numpy().astype("float64")
    weight = 0.5
    first = folds[0]
    if not only_kept or table.parts.has(f"{first[0].split.name}/tree-medians"):
        weight = value_weight(mean_course(first), first[0].tree_medians())
    choice = choose(folds, died, weight)
    choice.save(table.parts.folder / "choice.json")
    return choice


def sizes(num_steps: int | None = None) -> Sizes:
    """Those of the table, for an hour on two idle cores; `num_steps` of pretraining in place of its own."""
    found = recipe("icu-small")
    table = Recipe(
        name=found.name,
        # The data set holds no actions; the table was measured with latents compared as they are.
        model=replace(found.model, max_actions=1, compared_width=None),
        loss=found.loss,
        corruption=found.corruption,
        vocabulary=found.vocabulary,
        num_steps=num_steps or NUM_STEPS,
        patients_per_step=STAYS_PER_STEP,
        questions_per_patient=QUESTIONS_PER_STAY,
    )
    return Sizes(recipe=table)
