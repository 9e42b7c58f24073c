"""From patients to a checkpoint: split, fit, train, calibrate, evaluate, describe, save.

The only file that joins the steps. Reports what it does through `say` and `watch`; prints nothing.
"""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from clinical.timeline.timeline import Timeline
from clinical.worldmodel.calibrated import Calibration
from clinical.worldmodel.checkpoint import Checkpoint, save
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.latents import recount_projection
from clinical.worldmodel.probe import Probes
from clinical.worldmodel.tensorize import Tensorizer
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.training.about import About
from pipelines.training.asking import Asked, put_questions
from pipelines.training.behaviour import fit_behaviour
from pipelines.training.calibrate import fit_calibration, platt_of
from pipelines.training.card import FittedOutcome, documents
from pipelines.training.dataset import Case, Split, by_split, digest_of
from pipelines.training.diagnostics import diagnose
from pipelines.training.evaluate import RiskFigures, ValueFigures, risk_figures, value_figures
from pipelines.training.gates import Gate, refuse
from pipelines.training.lessons import Lessons, Share
from pipelines.training.preparing import Prepared, prepare
from pipelines.training.processes import Processes
from pipelines.training.prognosis import (
    OutcomeFigures,
    fit_familiarity_of,
    fit_prognosis,
    log_odds,
    outcome_figures,
    states_of,
)
from pipelines.training.recipes import Recipe
from pipelines.training.report import Report
from pipelines.training.setting import OUTPATIENT, Setting
from pipelines.training.train import Progress, on_device, train
from pipelines.training.tuning import tune
from pipelines.training.watching import GateWatch, row

STATE_FILE = "unfinished.safetensors"
_MOST_LOOKED_AT = 240  # patients of each part, for signs of health
_RECOUNT_LESSONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What to train, on whom, and where to put it."""

    recipe: Recipe
    timelines: Sequence[Timeline]
    out: Path
    name: str
    about: About
    setting: Setting = OUTPATIENT
    device: str = "cpu"
    is_resumed: bool = False
    processes: Processes | None = None
    may_be_unhealthy: bool = False
    """Whether a checkpoint is written, and marked, where a decisive sign of health is missing."""


@dataclass(frozen=True, slots=True)
class _Trained:
    model: Jepa
    vocabulary: Vocabulary
    calibration: Calibration
    probes: Probes
    values: list[ValueFigures]
    risks: list[RiskFigures]
    outcomes: list[OutcomeFigures]
    gates: list[Gate]
    gate_history: list[dict[str, Any]]


def run(
    assignment: Assignment,
    *,
    say: Callable[[str], None] = lambda _: None,
    watch: Callable[[Progress], None] = lambda _: None,
) -> tuple[str, Report]:
    """Train and write a checkpoint; returns the digest of its manifest.

    Raises:
        TooFewPatientsError
        UnhealthyModelError: a decisive gate failed; nothing was written but the unfinished run.
    """
    stopwatch = _Stopwatch()
    splits = by_split(assignment.timelines)
    losses: list[dict[str, float]] = []
    trained = _train(assignment, splits, _Watches(_recorded(watch, losses), watch), say, stopwatch)
    report = Report(
        name=assignment.name,
        about=assignment.about,
        machine=f"{platform.machine()}, {torch.get_num_threads()} threads, {assignment.device}",
        recipe=assignment.recipe,
        num_patients={str(split): len(members) for split, members in splits.items()},
        num_events=sum(len(timeline) for timeline in splits[Split.TRAINING]),
        num_parameters=sum(weight.numel() for weight in trained.model.parameters()),
        seconds=stopwatch.seconds,
        losses=losses,
        values=trained.values,
        risks=trained.risks,
        outcomes=trained.outcomes,
        gates=trained.gates,
        gate_history=trained.gate_history,
    )
    checkpoint = Checkpoint(
        name=assignment.name,
        version=f"{assignment.recipe.name}-{assignment.recipe.seed}",
        model=trained.model,
        vocabulary=trained.vocabulary,
        calibration=trained.calibration,
        probes=trained.probes,
        limits=assignment.recipe.limits,
        data_digest=digest_of(splits[Split.TRAINING]),
        training=report.to_json(),
    )
    digest = save(assignment.out, checkpoint, documents=documents(report, _fitted(trained)))
    (assignment.out / STATE_FILE).unlink(missing_ok=True)
    return digest, report


def _train(
    assignment: Assignment,
    splits: dict[Split, list[Timeline]],
    watch: "_Watches",
    say: Callable[[str], None],
    stopwatch: "_Stopwatch",
) -> _Trained:
    recipe, device = assignment.recipe, assignment.device
    say("fitting the vocabulary")
    prepared = prepare(recipe, splits)
    vocabulary, tensorizer, cases = prepared.vocabulary, prepared.tensorizer, prepared.cases
    stopwatch.lap("prepare")
    say("training")
    # In the order of a hash, so the first are as good as any: looking at thousands takes longer than
    # training does, and the signs do not become clearer.
    validation, training = (
        cases[split][:_MOST_LOOKED_AT] for split in (Split.VALIDATION, Split.TRAINING)
    )
    gate_watch = GateWatch(tensorizer, validation, training, recipe, say)
    # Amid training by several processes, none of them has the whole model: gates are judged after it.
    inspect = gate_watch if assignment.processes is None else None
    model = _learn(assignment, prepared, watch.pretraining, inspect)
    if recipe.tuning is not None and assignment.setting.labelled is not None:
        say("teaching the outcome")
        tune(
            model,
            cases[Split.TRAINING],
            tensorizer,
            assignment.setting,
            recipe,
            device,
            watch.tuning,
        )
    lessons = assignment.setting.lessons(recipe, training, tensorizer, None)
    _recount(model, lessons, recipe, device)
    stopwatch.lap("train")
    say("asking about the patients set aside")
    asked = _ask_all(assignment, model, tensorizer, cases)
    calibration = fit_calibration(
        asked[Split.CALIBRATION],
        asked[Split.TRAINING],
        vocabulary,
        recipe.limits,
        f"{assignment.name}/{recipe.seed}",
    )
    values, risks = _figures(recipe, vocabulary, asked, calibration)
    calibration, probes, outcomes = _outcome(assignment, model, tensorizer, cases, calibration)
    behaviour = fit_behaviour(
        model,
        tensorizer,
        cases[Split.TRAINING],
        cases[Split.CALIBRATION],
        recipe.limits,
        seed=recipe.seed + 4,
        device=device,
    )
    probes = replace(probes, behaviour=behaviour)
    gates = diagnose(model, tensorizer, validation, recipe, training)
    if not assignment.may_be_unhealthy:
        refuse(gates)
    stopwatch.lap("calibrate")
    history = [*gate_watch.history, row(recipe.num_steps, gates)]
    return _Trained(model, vocabulary, calibration, probes, values, risks, outcomes, gates, history)


def accompany(assignment: Assignment) -> None:
    """Train together with the process that does `run`, and leave the rest to it."""
    prepared = prepare(assignment.recipe, by_split(assignment.timelines))
    _learn(assignment, prepared, lambda _: None, None)


def _learn(
    assignment: Assignment,
    prepared: Prepared,
    watch: Callable[[Progress], None],
    inspect: Callable[[int, Jepa], None] | None,
) -> Jepa:
    recipe, processes = assignment.recipe, assignment.processes
    share = None if processes is None else Share(processes.rank, processes.number)
    cases = prepared.cases[Split.TRAINING]
    return train(
        recipe,
        assignment.setting.lessons(recipe, cases, prepared.tensorizer, share),
        prepared.vocabulary,
        device=assignment.device,
        watch=watch,
        inspect=inspect,
        state_file=_state_file(assignment),
        processes=processes,
    )


def _recount(model: Jepa, lessons: Lessons, recipe: Recipe, device: str) -> None:
    """The projector's statistics for the averaged weights, over lessons like those of training."""
    generator = torch.Generator().manual_seed(recipe.seed + 3)
    recount_projection(
        model, (on_device(lessons(generator), device) for _ in range(_RECOUNT_LESSONS))
    )


def _fitted(trained: _Trained) -> FittedOutcome | None:
    if not trained.probes.outcomes:
        return None
    prognosis = trained.probes.outcomes[0]
    platt = trained.calibration.probabilities.get(prognosis.key)
    return None if platt is None else (prognosis, platt)


def _outcome(
    assignment: Assignment,
    model: Jepa,
    tensorizer: Tensorizer,
    cases: dict[Split, list[Case]],
    calibration: Calibration,
) -> tuple[Calibration, Probes, list[OutcomeFigures]]:
    """The probes of the outcome told beside the record, where there is one, calibrated and judged."""
    labelled, recipe = assignment.setting.labelled, assignment.recipe
    if labelled is None:
        return calibration, Probes(), []
    states = {
        split: states_of(model, tensorizer, members, labelled, assignment.device)
        for split, members in cases.items()
    }
    prognosis, _ = fit_prognosis(states[Split.TRAINING], labelled, recipe.seed)
    held = states[Split.CALIBRATION]
    rows = zip(
        held.patient.tolist(), log_odds(prognosis, held).tolist(), held.had.tolist(), strict=True
    )
    name = f"{assignment.name}/{recipe.seed}/platt/{prognosis.key.replace('|', '/')}"
    platt = platt_of(list(rows), recipe.limits, name)
    probes = Probes(outcomes=(prognosis,))
    familiarity = fit_familiarity_of(states[Split.TRAINING], held)
    calibration = replace(calibration, familiarity=familiarity)
    if platt is None:
        return calibration, probes, []
    known = {**calibration.probabilities, prognosis.key: platt}
    base_rate = float(states[Split.TRAINING].had.mean())
    figures = outcome_figures(prognosis, platt, states[Split.VALIDATION], base_rate, recipe.seed)
    return replace(calibration, probabilities=known), probes, figures


def _state_file(assignment: Assignment) -> Path:
    path = assignment.out / STATE_FILE
    if not assignment.is_resumed:
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
    assignment: Assignment,
    model: Jepa,
    tensorizer: Tensorizer,
    cases: dict[Split, list[Case]],
) -> dict[Split, list[Asked]]:
    recipe = assignment.recipe
    return {
        split: put_questions(
            model,
            tensorizer,
            members,
            per_patient=recipe.questions_per_training_patient
            if split is Split.TRAINING
            else recipe.questions_per_held_out_patient,
            seed=recipe.seed,
            device=assignment.device,
            days_of=assignment.setting.days_of,
        )
        for split, members in cases.items()
    }


def _figures(
    recipe: Recipe,
    vocabulary: Vocabulary,
    asked: dict[Split, list[Asked]],
    calibration: Calibration,
) -> tuple[list[ValueFigures], list[RiskFigures]]:
    validation, labels = asked[Split.VALIDATION], [h.label for h in recipe.model.horizons]
    values = [value_figures(validation, vocabulary, calibration, label) for label in labels]
    spoken = (*labels, recipe.model.whole.label) if recipe.model.says_family_risks else ()
    risks = [
        figures
        for label in spoken
        for figures in risk_figures(validation, asked[Split.TRAINING], calibration, label)
    ]
    return [figures for figures in values if figures is not None], risks


@dataclass(frozen=True, slots=True)
class _Watches:
    """Who is told of each step; the losses of pretraining are also kept, for the card's plot."""

    pretraining: Callable[[Progress], None]
    tuning: Callable[[Progress], None]


class _Stopwatch:
    """Seconds per step of the run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 1)
        self._last = now
