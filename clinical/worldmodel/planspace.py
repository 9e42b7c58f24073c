"""The plans that may be compared for one patient, and what each costs: the problem given to a search.

Knows the ways in which each decision can be taken, as tensors that the predictor reads, and how usual
each way is. A plan is a row of numbers, one per decision: 0 for no change, else the way taken. Every
plan, that of no change too, is read as all that will be done: nothing else is in it. Does not search.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clinical.prediction.action import Action
from clinical.prediction.constraint import OnRecord, PlanRules, broken
from clinical.prediction.plan import PlanDecision, Taken
from clinical.timeline.event import Event, Source
from clinical.worldmodel.behaviour import Behaviour
from clinical.worldmodel.costing import Goals, missed, risk
from clinical.worldmodel.jepa import Jepa, Reading
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.search import Choices
from clinical.worldmodel.shapes import SECONDS_PER_DAY
from clinical.worldmodel.tensorize import Tensorizer

_CHUNK = 256  # plans put to the network at once
_ANY_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)  # a planned action is dated by its delay alone


@dataclass(frozen=True, slots=True)
class Slot:
    """One decision: its ways after that of no change, which is way 0; per way what it adds up to."""

    decision: PlanDecision
    ways: tuple[Taken, ...]
    vectors: Float[Tensor, "w a D"]
    days: Float[Tensor, "w a"]
    is_action: Bool[Tensor, "w a"]
    surprise: Float[Tensor, " w"]  # nats
    share: Float[Tensor, " w"]  # of similar patients, for the least usual of its parts


def slot_of(
    model: Jepa,
    tensorizer: Tensorizer,
    decision: PlanDecision,
    ways: Sequence[Taken],
    behaviour: Behaviour,
) -> Slot:
    """The slot of a decision that can be taken in these ways.

    How usual a way is counts what is done in it and what, of all that the decision could mean, is
    not: `-Σ log p(done) - Σ log(1 - p(not done))`, each action for itself.
    """
    all_actions = sorted({action.code.key for way in ways for action in way.actions})
    odds = torch.tensor([behaviour.log_odds[key] for key in all_actions], dtype=torch.float64)
    held = [frozenset[str](), *(frozenset(a.code.key for a in way.actions) for way in ways)]
    is_done = torch.tensor([[key in keys for key in all_actions] for keys in held])
    logs = torch.nn.functional.logsigmoid(torch.where(is_done, odds, -odds).reshape(len(held), -1))
    size = max((len(way.actions) for way in ways), default=0)
    device = next(model.parameters()).device
    vectors = torch.zeros(len(held), size, model.config.width, device=device)
    days = torch.zeros(len(held), size, device=device)
    is_action = torch.zeros(len(held), size, dtype=torch.bool, device=device)
    for place, way in enumerate(ways, start=1):
        events = [_as_event(action) for action in way.actions]
        vectors[place, : len(events)] = model.embedding(tensorizer.actions(events).to(device))
        delays = [action.after.total_seconds() / SECONDS_PER_DAY for action in way.actions]
        days[place, : len(events)] = torch.tensor(delays, device=device)
        is_action[place, : len(events)] = True
    least = logs.amin(1) if all_actions else logs.new_zeros(len(held))
    return Slot(decision, tuple(ways), vectors, days, is_action, -logs.sum(1), least.exp())


def _as_event(action: Action) -> Event:
    nobody = UUID(int=0)
    source = Source(site="", record_type="Plan", record_id="", digest="", delivery_id=nobody)
    return Event(
        patient_id=nobody,
        kind=action.kind,
        code=action.code,
        phase=action.phase,
        source=source,
        received_at=_ANY_MOMENT,
        value=action.dose,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSpace:
    """Every plan for the one patient of `reading`."""

    model: Jepa
    reading: Reading
    bounds: Float[Tensor, "1 H 2"]
    goals: Goals
    slots: tuple[Slot, ...]
    actions: tuple[str, ...]  # that the inverse head tells apart, in its order
    record: OnRecord
    rules: PlanRules

    def choices(self) -> Choices:
        """What a search may choose from, and from where it starts."""
        return Choices(
            sizes=tuple(1 + len(slot.ways) for slot in self.slots),
            is_allowed=self.is_allowed,
            proposals=(self.usual(), self.controlled()),
        )

    def __call__(self, plans: Int[Tensor, "n S"]) -> Float[Tensor, " n"]:
        """The energy of each plan."""
        return self.cost(plans)[0]

    def cost(
        self, plans: Int[Tensor, "n S"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n parts"]]:
        """The energy of each plan and its parts, in the order of `costing.PARTS`."""
        pieces = [
            self.model.cost(
                self.reading, self.bounds, self.plan(some), self.goals, self.surprise(some)
            )
            for some in torch.split(plans, _CHUNK)
        ]
        return torch.cat([e for e, _ in pieces]), torch.cat([p for _, p in pieces])

    def plan(self, plans: Int[Tensor, "n S"]) -> Plan:
        """The plans as the predictor reads them."""
        columns = list(zip(self.slots, plans.unbind(1), strict=True))
        return Plan(
            torch.cat([slot.vectors[way] for slot, way in columns], dim=1),
            torch.cat([slot.days[way] for slot, way in columns], dim=1),
            torch.cat([slot.is_action[way] for slot, way in columns], dim=1),
            torch.ones(len(plans), dtype=torch.bool, device=self.bounds.device),
        )

    def surprise(self, plans: Int[Tensor, "n S"]) -> Float[Tensor, " n"]:
        """The negative logarithm of the probability that similar patients were treated so, in nats."""
        return _per_slot([slot.surprise for slot in self.slots], plans).sum(1)

    def shares(self, plans: Int[Tensor, "n S"]) -> Float[Tensor, "n S"]:
        """Of similar patients, the share for whom each decision was taken so, or left."""
        return _per_slot([slot.share for slot in self.slots], plans)

    def is_allowed(self, plans: Int[Tensor, "n S"]) -> Bool[Tensor, " n"]:
        """Which plans keep every constraint and hold no more actions than the model reads."""
        return torch.tensor([self._keeps(row) for row in plans.tolist()], dtype=torch.bool)

    def taken(self, row: Sequence[int]) -> tuple[Taken, ...]:
        """The decisions that a plan takes."""
        pairs = zip(self.slots, row, strict=True)
        return tuple(slot.ways[way - 1] for slot, way in pairs if way)

    def usual(self) -> tuple[int, ...]:
        """The plan that is most usual for patients in this state."""
        return tuple(int(slot.surprise.argmin()) for slot in self.slots)

    def controlled(self) -> tuple[int, ...]:
        """The plan of the inverse controller.

        Of the courses that the heads foretell under usual care the most wanted is taken; the inverse
        head says what is done more often when the course goes so than when it goes as on average.
        """
        latents, raw = self.model.forecast(self.reading, self.bounds)
        unwanted = (missed(raw, self.goals) + risk(raw, self.goals))[0]
        best = (unwanted * self.goals.horizon_weights[:, None]).sum(0).argmin()
        lift = self._inverse(latents[0, :, best]) - self._inverse(latents[0].mean(1))
        names = {key: place for place, key in enumerate(self.actions)}
        row = []
        for slot in self.slots:
            lifts = [
                sum(float(lift[:, names[a.code.key]].max()) for a in way.actions)
                for way in slot.ways
            ]
            place = max(range(len(lifts)), key=lifts.__getitem__, default=-1)
            row.append(place + 1 if place >= 0 and lifts[place] > 0 else 0)
        return tuple(row)

    def _inverse(self, latents: Float[Tensor, "H L"]) -> Float[Tensor, "H n"]:
        state = self.reading.state.expand(len(latents), -1)
        odds: Tensor = self.model.inverse(torch.cat([state, latents], dim=-1))
        return odds

    def _keeps(self, row: Sequence[int]) -> bool:
        actions = [action for way in self.taken(row) for action in way.actions]
        return len(actions) <= self.model.config.max_actions and not broken(
            actions, self.record, self.rules
        )


def _per_slot(tables: Sequence[Tensor], plans: Int[Tensor, "n S"]) -> Float[Tensor, "n S"]:
    """Of each plan and slot, the entry of the slot's table (`[w]`) for the way taken."""
    columns = zip(tables, plans.unbind(1), strict=True)
    return torch.stack([table[way] for table, way in columns], dim=1)
