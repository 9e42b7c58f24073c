"""One question, asked of the network: what it says of the patient, before calibration.

Knows how a timeline is read: block by block, or on from what is remembered, so that a long history
costs its length once; and the newest events in one piece, so that they can be left out one group at
a time. Does not know calibration or when to decline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clinical.prediction.action import Action
from clinical.prediction.horizon import Horizon
from clinical.prediction.request import PredictionRequest
from clinical.timeline.chain import Prefix, chain, is_kept, nothing_of
from clinical.timeline.event import Event, Source
from clinical.timeline.timeline import Known, Timeline
from clinical.worldmodel.batch import TimelineBatch, join
from clinical.worldmodel.composing import forecast_beyond
from clinical.worldmodel.incidence import days_of
from clinical.worldmodel.jepa import Encoded, Jepa, Reading, Remembered
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.readout import RawReadouts
from clinical.worldmodel.remembering import Counts, Past, after_block, newest_values
from clinical.worldmodel.shapes import SECONDS_PER_DAY
from clinical.worldmodel.tally import Tally
from clinical.worldmodel.tensorize import Tensorizer, day_of


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A timeline as the network has read it: `earlier` is remembered, `recent` can be read again.

    `pasts` holds what was newly remembered on the way and is worth keeping, the newest last.
    """

    earlier: Remembered | None
    tally: Tally
    recent: tuple[Known, ...]
    batch: TimelineBatch
    counts: Counts
    num_events: int
    values: dict[int, tuple[UUID, ...]]  # the newest events of each numeric series, newest first
    input_digest: str
    pasts: tuple[Past, ...]

    @property
    def unseen_share(self) -> float:
        """The share of events whose code has no token."""
        return self.counts.num_unseen / max(1, self.num_events)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the network says: the trained windows come first, then those asked beside them."""

    reading: Reading
    latents: Float[Tensor, "H K L"]
    raw: RawReadouts

    @property
    def state(self) -> Float[Tensor, "1 D"]:
        """The state of the patient at the question."""
        return self.reading.state


def read_history(
    model: Jepa,
    tensorizer: Tensorizer,
    timeline: Timeline,
    device: str,
    past: Past | None = None,
) -> History:
    """Read a timeline, block by block but for its newest events.

    With `past`, `timeline` holds only what comes after it; the bits are the same.
    """
    past = past or Past(prefix=nothing_of(timeline.patient_id))
    read_before = past.prefix.num_events
    links = chain(past.prefix, timeline.standing)
    newest, pasts = links.resumable[-1].num_blocks, []
    for prefix in links.resumable[1:]:
        block = timeline.standing[past.prefix.num_events - read_before :][: _size(past, prefix)]
        past = after_block(model, tensorizer, past, block, prefix, device)
        if is_kept(prefix.num_blocks, newest):
            pasts.append(past)
    recent = timeline.standing[past.prefix.num_events - read_before :]
    batch, _ = tensorizer.known(recent, past.tally)
    return History(
        earlier=past.remembered,
        tally=past.tally,
        recent=recent,
        batch=batch.to(device),
        counts=past.counts.with_events(recent, batch.num_unseen[0]),
        num_events=links.num_events,
        values=newest_values(batch, past.values),
        input_digest=links.digest,
        pasts=tuple(pasts),
    )


def _size(past: Past, prefix: Prefix) -> int:
    return prefix.num_events - past.prefix.num_events


def ask(
    model: Jepa,
    tensorizer: Tensorizer,
    history: History,
    request: PredictionRequest,
    horizons: Sequence[Horizon],
) -> Answer:
    """The network's answer for the trained windows and for `horizons`, which are in its reach."""
    device = history.batch.birth_day.device
    encoded = model.encode(history.batch, history.earlier)
    reading = read_at(model, history.batch, encoded, request)
    asked = [days_of(horizon) for horizon in (*model.config.horizons, *horizons)]
    trained = model.config.windows_days[-1][1]
    near = [place for place, (_, end) in enumerate(asked) if end <= trained]
    far = [place for place, (_, end) in enumerate(asked) if end > trained]
    bounds = torch.tensor([asked], dtype=torch.float32, device=device)
    plan = plan_of(model, tensorizer, request) if request.actions else None
    latents, raw = model.forecast(reading, bounds[:, near], plan)
    if far:
        later = forecast_beyond(model, reading, bounds[:, far], plan)
        latents, raw = _merged((latents, raw), later, [*near, *far])
    return Answer(reading, latents[0], raw)


def _merged(
    near: tuple[Float[Tensor, "Q n K L"], RawReadouts],
    far: tuple[Float[Tensor, "Q f K L"], RawReadouts],
    places: list[int],
) -> tuple[Float[Tensor, "Q H K L"], RawReadouts]:
    """The windows of both in the order in which they were asked: the n-th goes to `places[n]`."""
    order = torch.tensor(places).argsort()
    one, other = near[1], far[1]
    raw = RawReadouts(
        torch.cat([one.quantiles, other.quantiles], dim=1)[:, order],
        torch.cat([one.measured, other.measured], dim=1)[:, order],
        torch.cat([one.intensity, other.intensity], dim=1)[:, order],
        one.hazards,
        other.hazards,
        _joined(one.variance, other.variance, order),
    )
    return torch.cat([near[0], far[0]], dim=1)[:, order], raw


def _joined(one: Tensor | None, other: Tensor | None, order: Tensor) -> Tensor | None:
    return None if one is None or other is None else torch.cat([one, other], dim=1)[:, order]


def read_at(
    model: Jepa, batch: TimelineBatch, encoded: Encoded, request: PredictionRequest
) -> Reading:
    """The patient at the moment of the question, for every timeline of the batch."""
    return model.read(batch, encoded, *question(batch, request))


def question(
    batch: TimelineBatch, request: PredictionRequest
) -> tuple[Int[Tensor, " Q"], Float[Tensor, " Q"]]:
    """Row and day of one and the same question, asked of every timeline of the batch."""
    device = batch.birth_day.device
    row = torch.arange(batch.num_timelines, device=device)
    return row, torch.full((len(row),), day_of(request.as_of), dtype=torch.float64, device=device)


def plan_of(model: Jepa, tensorizer: Tensorizer, request: PredictionRequest) -> Plan:
    """The request's actions as the predictor sees them, soonest first."""
    device = next(model.parameters()).device
    ordered = sorted(request.actions, key=lambda action: (action.after, action.code.key))
    events = [_as_event(action, request) for action in ordered[: model.config.max_actions]]
    vectors = model.embedding(tensorizer.actions(events).to(device))
    days = [
        action.after.total_seconds() / SECONDS_PER_DAY
        for action in ordered[: model.config.max_actions]
    ]
    return Plan(
        vectors[None],
        torch.tensor([days], dtype=torch.float32, device=device),
        torch.ones(1, len(days), dtype=torch.bool, device=device),
        torch.ones(1, dtype=torch.bool, device=device),
    )


def _as_event(action: Action, request: PredictionRequest) -> Event:
    source = Source(
        site="", record_type="Plan", record_id="", digest="", delivery_id=request.prediction_id
    )
    return Event(
        patient_id=request.patient_id,
        kind=action.kind,
        code=action.code,
        source=source,
        received_at=request.as_of + action.after,
        value=action.dose,
        phase=action.phase,
    )


def without(
    tensorizer: Tensorizer, history: History, hidden: Sequence[frozenset[int]], device: str
) -> TimelineBatch:
    """The recent part once per set of hidden places, each as if those events were not on record."""
    variants = []
    for places in hidden:
        kept = [known for place, known in enumerate(history.recent) if place not in places]
        variants.append(tensorizer.known(kept, history.tally)[0])
    return join(variants).to(device)
