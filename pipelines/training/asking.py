"""Questions put to a trained model about held-out patients, each with what really happened.

The model is asked exactly as in serving: the timeline is cut, and answered alone. What happened is
read by `clinical.prediction.outcome`, which the audit uses too. Knows no calibration.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from uuid import UUID

import torch

from clinical.prediction.horizon import Horizon
from clinical.prediction.outcome import happened, next_value
from clinical.prediction.request import PredictionRequest, Purpose
from clinical.timeline.event import EventKind
from clinical.timeline.quantity import Quantity
from clinical.timeline.timeline import Known, Timeline
from clinical.worldmodel.answering import ask, read_history
from clinical.worldmodel.families import FORETOLD
from clinical.worldmodel.incidence import cumulative_log_odds
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.shapes import DAYS_PER_YEAR
from clinical.worldmodel.tensorize import Tensorizer
from clinical.worldmodel.vocabulary import ValueScale
from pipelines.training.dataset import Case, moment_of


@dataclass(frozen=True, slots=True)
class RiskAnswer:
    """The mean log odds of the heads, and whether it happened (None: the record cannot tell)."""

    log_odds: float
    happened: bool | None


@dataclass(frozen=True, slots=True)
class ValueAnswer:
    """In the code's unit: the quantiles said, the last value on record, and the next one measured."""

    quantiles: tuple[float, ...]
    last: float
    measured: float


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: risks by `(name, horizon label)`, values by `(code key, horizon label)`."""

    patient: int
    age_years: float
    is_female: bool
    state: tuple[float, ...]
    spread: tuple[float, ...]
    risks: dict[tuple[str, str], RiskAnswer]
    values: dict[tuple[str, str], ValueAnswer]


def put_questions(
    model: Jepa,
    tensorizer: Tensorizer,
    cases: Sequence[Case],
    *,
    per_patient: int,
    seed: int,
    device: str = "cpu",
    days_of: Callable[[Case], Sequence[float]] = lambda case: case.asked_days,
) -> list[Asked]:
    """Ask about each patient at up to `per_patient` of the moments that `days_of` gives.

    Those are, unless others are given, when something became known and the record then was quiet.
    """
    generator = torch.Generator().manual_seed(seed)
    answers = []
    with torch.no_grad():
        for patient, case in enumerate(cases):
            days = days_of(case)
            order = torch.randperm(len(days), generator=generator)
            for place in sorted(order[:per_patient].tolist()):
                day = days[place]
                answers.append(_ask(model, tensorizer, case.timeline, patient, day, device))
    return answers


def _ask(
    model: Jepa, tensorizer: Tensorizer, timeline: Timeline, patient: int, day: float, device: str
) -> Asked:
    as_of = moment_of(day)
    request = PredictionRequest(
        prediction_id=UUID(int=0),
        patient_id=timeline.patient_id,
        as_of=as_of,
        received_by=as_of,
        purpose=Purpose.RETROSPECTIVE,
    )
    cut = timeline.cut(as_of)
    history = read_history(model, tensorizer, cut, device)
    answer = ask(model, tensorizer, history, request, ())
    windows, horizons = model.config.windows_days, model.config.horizons
    latents = answer.latents
    spread = (latents - latents.mean(1, keepdim=True)).square().mean((1, 2)).sqrt()
    risks = {}
    for horizon in (*horizons, model.config.whole) if model.config.says_family_risks else ():
        log_odds = cumulative_log_odds(answer.raw, windows, horizon)[0].mean(0).tolist()
        for name, odds in zip(FORETOLD, log_odds, strict=True):
            outcome = happened(name, timeline, as_of, horizon)
            risks[str(name), horizon.label] = RiskAnswer(odds, outcome)
    return Asked(
        patient=patient,
        age_years=(day - history.tally.birth_day) / DAYS_PER_YEAR,  # NaN where unknown
        is_female=any(e.kind is EventKind.PATIENT and e.code.value == "female" for e in cut),
        state=tuple(answer.state[0].tolist()),
        spread=tuple(spread.tolist()),
        risks=risks,
        values=_values(tensorizer, cut, answer.raw.quantiles[0], timeline, as_of, horizons),
    )


def _values(
    tensorizer: Tensorizer,
    cut: Timeline,
    quantiles: torch.Tensor,  # H K C X, in standard deviations
    timeline: Timeline,
    as_of: datetime,
    horizons: Sequence[Horizon],
) -> dict[tuple[str, str], ValueAnswer]:
    answers = {}
    scales = tensorizer.vocabulary.scales
    last = _last_values(cut, scales)
    said = quantiles.mean(1).double()
    later = _by_code(timeline, as_of)
    for place, code in enumerate(tensorizer.vocabulary.numeric_codes):
        scale = scales[code.key]
        if code.key not in last:
            continue
        for number, horizon in enumerate(horizons):
            measured = next_value(
                code, scale.unit, later[code.key], as_of, horizon, convert=_converter(scale)
            )
            if measured is None:
                continue
            in_unit = (said[number, place] * scale.sd + scale.mean).tolist()
            answers[code.key, horizon.label] = ValueAnswer(tuple(in_unit), last[code.key], measured)
    return answers


def _by_code(timeline: Timeline, as_of: datetime) -> defaultdict[str, Timeline]:
    """What became known after the question, once per code: looked through once, not once per code."""
    found: defaultdict[str, list[Known]] = defaultdict(list)
    for known in timeline.standing:
        if known.at > as_of:
            for key in {known.event.code.key, *(code.key for code in known.event.other_codes)}:
                found[key].append(known)
    nothing = partial(Timeline, timeline.patient_id, (), ())
    return defaultdict(
        nothing, {key: replace(nothing(), standing=tuple(held)) for key, held in found.items()}
    )


def _converter(scale: ValueScale) -> Callable[[Quantity, str], float | None]:
    return lambda quantity, _: scale.canonical(quantity)


def _last_values(cut: Timeline, scales: dict[str, ValueScale]) -> dict[str, float]:
    last = {}
    for event in cut:
        scale = scales.get(event.code.key)
        if scale is not None and isinstance(event.value, Quantity):
            value = scale.canonical(event.value)
            if value is not None:
                last[event.code.key] = value
    return last
