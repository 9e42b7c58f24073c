"""A recipe trained on the shipped patients and judged on those it has not seen, patient by patient.

Knows how one model is trained and what is measured of it. Does not know what is compared.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.units import conversion
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.fitting import fit
from clinical.worldmodel.grounding import grounding, outcomes
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.latents import recount_projection
from clinical.worldmodel.readout import RawReadouts
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training.dataset import Case, Split, by_split, case_of, lesson_of
from pipelines.training.diagnostics import diagnose
from pipelines.training.lessons import CaseLessons
from pipelines.training.preparing import COMMON_UNITS
from pipelines.training.recipes import Recipe
from pipelines.training.train import Progress, train

LOSSES = ("values", "measured", "happened")
_QUESTIONS = 20
_RECOUNT_LESSONS = 20


@dataclass(frozen=True, slots=True)
class Patients:
    """Those of the three splits, read with a vocabulary of the training patients."""

    tensorizer: Tensorizer
    training: Sequence[Case]
    validation: Sequence[Case]
    held_out: Sequence[Case]  # validation and calibration patients


def patients(timelines: Sequence[Timeline], recipe: Recipe) -> Patients:
    """The cases of these timelines."""
    splits = by_split(timelines)
    vocabulary = fit(
        splits[Split.TRAINING], conversion, common_units=COMMON_UNITS, config=recipe.vocabulary
    )
    tensorizer = Tensorizer(vocabulary, recipe.model.clock_days)
    cases = {
        split: [case for one in members if (case := case_of(one, tensorizer)) is not None]
        for split, members in splits.items()
    }
    validation = cases[Split.VALIDATION]
    held_out = [*validation, *cases[Split.CALIBRATION]]
    return Patients(tensorizer, cases[Split.TRAINING], validation, held_out)


def measure(
    recipe: Recipe, read: Patients, folder: Path, watch: Callable[[Progress], None]
) -> dict[str, Any]:
    """The losses of each held-out patient and the gates; kept in `folder`, computed once."""
    choices = json.dumps(asdict(recipe), default=str, sort_keys=True)
    digest = sha256(choices.encode()).hexdigest()[:12]
    path = folder / f"{recipe.name}-{recipe.seed}-{digest}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return found
    lessons = CaseLessons(recipe, read.training, read.tensorizer)
    state_file = path.with_suffix(".safetensors")
    vocabulary = read.tensorizer.vocabulary
    model = train(recipe, lessons, vocabulary, watch=watch, state_file=state_file)
    generator = torch.Generator().manual_seed(recipe.seed + 3)
    recount_projection(model, (lessons(generator) for _ in range(_RECOUNT_LESSONS)))
    gates = diagnose(model, read.tensorizer, read.validation, recipe, read.training)
    found = {
        "losses": [_losses(model, case, read.tensorizer, recipe) for case in read.held_out],
        "gates": [asdict(gate) for gate in gates],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found), "utf-8")
    state_file.unlink(missing_ok=True)
    return found


@torch.no_grad()
def _losses(model: Jepa, case: Case, tensorizer: Tensorizer, recipe: Recipe) -> dict[str, float]:
    """What the readouts, averaged over heads, lose over the trained windows of one patient."""
    step = max(1, len(case.asked_days) // _QUESTIONS)
    asked = [(case, day) for day in case.asked_days[::step]]
    bounds = torch.tensor(recipe.model.windows_days).expand(len(asked), -1, -1)
    lesson = lesson_of(asked, tensorizer, bounds, torch.ones(len(asked), recipe.model.num_heads))
    reading = model.read(lesson.context, model.encode(lesson.context), lesson.row, lesson.day)
    _, raw = model.forecast(reading, lesson.bounds)
    found = outcomes(model, lesson, torch.zeros(0, dtype=torch.int64))
    parts = grounding(_one_head(raw), found, torch.ones(len(asked)))
    return {name: float(parts[name]) for name in LOSSES}


def _one_head(raw: RawReadouts) -> RawReadouts:
    def mean(numbers: Tensor) -> Tensor:
        return numbers.mean(2, keepdim=True)

    return replace(
        raw,
        quantiles=mean(raw.quantiles),
        measured=mean(raw.measured),
        intensity=mean(raw.intensity),
        hazards=None,
    )
