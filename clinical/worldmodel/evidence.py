"""The events that a risk leans on: those whose absence would change the answer most.

A gradient picks the candidates, leaving each out decides. Only the newest few hundred events are
considered, in groups of one concept: "without these prescriptions the odds would be …". It says
what the model leans on, not what caused anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import torch
from jaxtyping import Float
from torch import Tensor

from clinical.prediction.horizon import Horizon
from clinical.prediction.request import PredictionRequest
from clinical.worldmodel.answering import (
    Answer,
    History,
    plan_of,
    question,
    read_at,
    without,
)
from clinical.worldmodel.incidence import cumulative_log_odds, is_told
from clinical.worldmodel.jepa import Jepa, Remembered
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.probe import Prognosis
from clinical.worldmodel.readout import RawReadouts
from clinical.worldmodel.tensorize import Tensorizer

NUM_CANDIDATES = 5
_MIN_CHANGE = 0.05  # in log odds; less is not worth a clinician's look
_NUM_GROUPS = 3


@dataclass(frozen=True, slots=True)
class Leaning:
    """Per candidate group: place and name of its newest event, and what is said without the group."""

    newest: tuple[tuple[int, UUID], ...]
    raw: RawReadouts | None
    state: Float[Tensor, "n D"]


def lean(
    model: Jepa,
    tensorizer: Tensorizer,
    history: History,
    request: PredictionRequest,
    prognoses: Sequence[Prognosis] = (),
) -> Leaning:
    """Leave the likeliest groups of recent events out, one at a time, and ask again."""
    groups = _candidates(model, history, request, prognoses)
    hidden = [frozenset(group) for group in groups]
    if not hidden:
        return Leaning((), None, torch.zeros(0, 0))
    device = str(history.batch.birth_day.device)
    batch = without(tensorizer, history, hidden, device)
    earlier = None
    if history.earlier is not None:
        shape = (len(hidden), -1, -1)
        earlier = Remembered(
            history.earlier.memory.expand(*shape), history.earlier.static.expand(*shape[:2])
        )
    reading = read_at(model, batch, model.encode(batch, earlier), request)
    bounds = torch.tensor(model.config.windows_days, device=device).expand(len(hidden), -1, -1)
    plan = _repeated(plan_of(model, tensorizer, request), len(hidden)) if request.actions else None
    _, raw = model.forecast(reading, bounds.float(), plan)
    events = history.batch.events
    newest = tuple((group[-1], events[group[-1]].event_id) for group in groups)
    return Leaning(newest, raw, reading.state)


def leaned_on(
    leaning: Leaning,
    answer: Answer,
    windows: tuple[tuple[float, float], ...],
    horizon: Horizon,
    risk: int,
) -> tuple[UUID, ...]:
    """The newest event of each group whose absence moves the risk most; the newest first.

    Nothing for a window beyond the trained reach: it is not asked again without each group.
    """
    if leaning.raw is None or not is_told(leaning.raw, windows, horizon):
        return ()
    before = cumulative_log_odds(answer.raw, windows, horizon)[0, :, risk].mean()
    after = cumulative_log_odds(leaning.raw, windows, horizon)[:, :, risk].mean(1)
    return _moved_most(leaning, (after - before).abs())


def prognosis_leaned_on(leaning: Leaning, answer: Answer, prognosis: Prognosis) -> tuple[UUID, ...]:
    """As `leaned_on`, of an outcome that is read from the state."""
    if not leaning.newest:
        return ()
    before = prognosis.log_odds(answer.state).mean()
    return _moved_most(leaning, (prognosis.log_odds(leaning.state).mean(1) - before).abs())


def _moved_most(leaning: Leaning, change: Float[Tensor, " n"]) -> tuple[UUID, ...]:
    order = torch.argsort(change, descending=True, stable=True)[:_NUM_GROUPS].tolist()
    chosen = [leaning.newest[place] for place in order if change[place] >= _MIN_CHANGE]
    return tuple(name for _, name in sorted(chosen, reverse=True))


def _candidates(
    model: Jepa, history: History, request: PredictionRequest, prognoses: Sequence[Prognosis]
) -> list[list[int]]:
    """Places of recent events, grouped by concept and kind; the steepest groups first."""
    batch = history.batch
    score = _sensitivity(model, history, request, prognoses)
    concepts, kinds = batch.event_concept.tolist(), batch.event_attributes[:, 0].tolist()
    members: dict[tuple[int, int], list[int]] = {}
    for place, bundle in enumerate(batch.event_bundle.tolist()):
        if bundle >= 0:
            members.setdefault((concepts[place], kinds[place]), []).append(place)
    totals = {key: sum(score[place] for place in places) for key, places in members.items()}
    ranked = sorted(totals, key=lambda key: (-totals[key], key))[:NUM_CANDIDATES]
    return [members[key] for key in ranked]


def _sensitivity(
    model: Jepa, history: History, request: PredictionRequest, prognoses: Sequence[Prognosis]
) -> list[float]:
    """How steeply the risks change with each recent event and with the series that it last fed."""
    batch = history.batch
    with torch.enable_grad():
        weights = torch.ones(len(batch.event_concept), device=batch.birth_day.device)
        weights.requires_grad_()
        encoded = model.encode(batch, history.earlier, event_weights=weights)
        row, day = question(batch, request)
        table = model.series_at(batch, encoded, row, day).detach().requires_grad_()
        bounds = torch.tensor([model.config.windows_days], device=weights.device).float()
        reading = model.read_with(batch, encoded, row, day, table)
        _, raw = model.forecast(reading, bounds)
        risk = (
            raw.intensity.log().sum() if model.config.says_family_risks else weights.new_zeros(())
        )
        risk = risk + sum(p.log_odds(reading.state).mean() for p in prognoses)
        if not risk.requires_grad:  # nothing is said that could lean on anything
            return [0.0] * len(weights)
        by_event, by_feature = torch.autograd.grad(risk, [weights, table])
    score = by_event.abs()
    fed = (by_feature * table).abs().sum(-1)[0].detach()
    last = dict(zip(batch.value_series.tolist(), batch.value_event.tolist(), strict=True))
    for series, event in last.items():
        score[event] = score[event] + fed[series]
    numbers: list[float] = score.tolist()
    return numbers


def _repeated(plan: Plan, num: int) -> Plan:
    return Plan(
        plan.actions.expand(num, -1, -1),
        plan.days.expand(num, -1),
        plan.is_action.expand(num, -1),
        plan.is_given.expand(num),
    )
