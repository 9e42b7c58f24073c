"""From patients to a checkpoint: read, split, fit, train, calibrate, evaluate, describe, save.

The only file that joins the steps. Reports what it does through `say` and `watch`; prints nothing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapters.units import conversion
from clinical.errors import RejectedError
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.calibrated import Calibration
from clinical.worldmodel.checkpoint import Checkpoint, save
from clinical.worldmodel.fitting import fit
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training.asking import Asked, put_questions
from pipelines.training.calibrate import fit_calibration
from pipelines.training.dataset import Case, Split, by_split, case_of, digest_of
from pipelines.training.evaluate import RiskFigures, ValueFigures, risk_figures, value_figures
from pipelines.training.recipes import Recipe
from pipelines.training.train import Progress, train

# Units that a hospital may send instead of those in the training data; tried once per code.
_UNITS_TEXT = (
    "% 1 mg/dL g/dL g/L mg/L ug/dL ug/L ng/mL ng/dL pg/mL mmol/L umol/L nmol/L mol/L meq/L "
    "mmol/mol 10*3/uL 10*9/L 10*6/uL 10*12/L /uL fL pg kg g [lb_av] [oz_av] cm m [in_i] [ft_i] "
    "mm[Hg] kPa Cel [degF] K kg/m2 /min U/L [IU]/L m[IU]/L mL/min mL/min/{1.73_m2} mg/g mL L "
    "{score} s min h mm/h"
)
COMMON_UNITS = tuple(_UNITS_TEXT.split())
_STATE_FILE = "unfinished.safetensors"


class TooFewPatientsError(RejectedError):
    """There are not enough patients to train, validate and calibrate."""

    code = "training.too_few_patients"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run produced, for the manifest, the model card and the terminal."""

    recipe: Recipe
    num_patients: dict[str, int]
    num_events: int
    num_parameters: int
    seconds: dict[str, float]
    losses: list[dict[str, float]]  # smoothed, one per report
    values: list[ValueFigures]
    risks: list[RiskFigures]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Cases:
    training: list[Case]
    validation: list[Case]
    calibration: list[Case]


def run(
    recipe: Recipe,
    timelines: Sequence[Timeline],
    out: Path,
    *,
    name: str,
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
    watch: Callable[[Progress], None] = lambda _: None,
    is_resumed: bool = False,
) -> tuple[str, Report]:
    """Train on these patients and write a checkpoint to `out`; returns its manifest digest.

    Raises:
        TooFewPatientsError
    """
    clock = _Stopwatch()
    splits = by_split(timelines)
    say("fitting the vocabulary")
    vocabulary = fit(
        splits[Split.TRAINING], conversion, common_units=COMMON_UNITS, config=recipe.vocabulary
    )
    tensorizer = Tensorizer(vocabulary)
    cases = _Cases(*([c for t in splits[s] if (c := case_of(t, tensorizer))] for s in Split))
    if min(len(cases.training), len(cases.validation), len(cases.calibration)) < 2:
        raise TooFewPatientsError("too few patients with at least two moments on record")
    clock.lap("prepare")
    losses: list[dict[str, float]] = []
    model = train(
        recipe,
        cases.training,
        tensorizer,
        device=device,
        watch=_recorded(watch, losses),
        state_file=_state_file(out, is_resumed=is_resumed),
    )
    clock.lap("train")
    say("asking about patients set aside")
    asked = _ask_all(recipe, model, tensorizer, cases, device)
    calibration = fit_calibration(
        asked[Split.CALIBRATION],
        asked[Split.TRAINING],
        vocabulary,
        recipe.limits,
        f"{name}/{recipe.seed}",
    )
    clock.lap("calibrate")
    report = _report(recipe, splits, model, tensorizer, asked, calibration, clock.seconds, losses)
    checkpoint = Checkpoint(
        name=name,
        version=f"{recipe.name}-{recipe.seed}",
        model=model,
        vocabulary=vocabulary,
        calibration=calibration,
        limits=recipe.limits,
        data_digest=digest_of(splits[Split.TRAINING]),
        training=report.to_json(),
    )
    digest = save(out, checkpoint)
    (out / _STATE_FILE).unlink(missing_ok=True)
    return digest, report


def _state_file(out: Path, *, is_resumed: bool) -> Path:
    path = out / _STATE_FILE
    if not is_resumed:
        path.unlink(missing_ok=True)
    return path


def _recorded(
    watch: Callable[[Progress], None], losses: list[dict[str, float]]
) -> Callable[[Progress], None]:
    smooth: dict[str, float] = {}

    def record(progress: Progress) -> None:
        for key, value in progress.losses.items():
            smooth[key] = 0.95 * smooth.get(key, value) + 0.05 * value
        if progress.step % 25 == 0 or progress.step == progress.num_steps:
            losses.append({"step": progress.step, **smooth})
        watch(Progress(progress.step, progress.num_steps, dict(smooth)))

    return record


def _ask_all(
    recipe: Recipe, model: Jepa, tensorizer: Tensorizer, cases: _Cases, device: str
) -> dict[Split, list[Asked]]:
    per_patient = recipe.questions_per_held_out_patient
    groups = {
        Split.TRAINING: cases.training,
        Split.VALIDATION: cases.validation,
        Split.CALIBRATION: cases.calibration,
    }
    return {
        split: put_questions(
            model, tensorizer, group, per_patient=per_patient, seed=recipe.seed, device=device
        )
        for split, group in groups.items()
    }


def _report(
    recipe: Recipe,
    splits: dict[Split, list[Timeline]],
    model: Jepa,
    tensorizer: Tensorizer,
    asked: dict[Split, list[Asked]],
    calibration: Calibration,
    seconds: dict[str, float],
    losses: list[dict[str, float]],
) -> Report:
    validation, labels = asked[Split.VALIDATION], [h.label for h in recipe.model.horizons]
    values = [
        value_figures(validation, tensorizer.vocabulary, calibration, label) for label in labels
    ]
    risks = [
        figures
        for label in (*labels, recipe.model.whole.label)
        for figures in risk_figures(validation, asked[Split.TRAINING], calibration, label)
    ]
    return Report(
        recipe=recipe,
        num_patients={str(split): len(members) for split, members in splits.items()},
        num_events=sum(len(timeline) for timeline in splits[Split.TRAINING]),
        num_parameters=sum(weight.numel() for weight in model.parameters()),
        seconds=seconds,
        losses=losses,
        values=[figures for figures in values if figures is not None],
        risks=risks,
    )


class _Stopwatch:
    """Seconds per step of the run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 1)
        self._last = now
