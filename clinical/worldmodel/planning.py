"""Questions about plans in, comparisons out: searched, ranked, or withheld with a named reason.

Knows when plans cannot be told apart honestly: nothing says how usual they are, the best of them was
hardly ever followed, or its course is too uncertain to say. What it says of a plan is the course of
similar patients who were treated so, never an effect. Intervals were calibrated under usual care.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import torch
from jaxtyping import Int
from torch import Tensor

from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.constraint import Constraint, OnRecord, broken
from clinical.prediction.plan import (
    NO_CHANGE,
    EnergyPart,
    Excluded,
    MalformedPlanQuestionError,
    PlanComparison,
    PlanDecision,
    PlanOption,
    PlanQuestion,
    Taken,
    UnknownPlanActionError,
)
from clinical.prediction.prediction import Capsule
from clinical.prediction.readout import Readout
from clinical.prediction.request import PredictionRequest
from clinical.timeline.event import Phase
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.answering import Answer, History, read_at, read_history
from clinical.worldmodel.behaviour import Behaviour, behaviour_of, support_window
from clinical.worldmodel.costing import PARTS, Goals, goals_of
from clinical.worldmodel.evidence import Leaning
from clinical.worldmodel.inference import Inference
from clinical.worldmodel.planspace import PlanSpace, slot_of
from clinical.worldmodel.search import Found, beam, cem, enumerate_all
from clinical.worldmodel.speaking import Speaker

_NOTHING_SHOWN = Leaning((), None, torch.zeros(0, 0))
_FEW = 512  # plans or fewer are all tried
_SUPPORT_UNKNOWN = Abstention(
    AbstentionReason.SUPPORT_UNKNOWN,
    "the model was not fitted to say how usual these decisions are for patients like this one",
)
_NOTHING_ALLOWED = Abstention(
    AbstentionReason.NO_ALLOWED_PLAN, "a constraint forbids every one of these decisions"
)
_NOT_SAID = Abstention(
    AbstentionReason.NOT_CALIBRATED, "the model says nothing of a risk that was asked about"
)
_PLAN_UNUSUAL = Abstention(
    AbstentionReason.PLAN_UNUSUAL,
    "a decision of the plan that would come first was hardly ever taken for patients like this one",
)


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Compares plans with a loaded model."""

    inference: Inference

    def plannable(self, actions: Sequence[str]) -> tuple[bool, ...]:
        """Of each action, by `Code.key`, whether the model learned it and can say how usual it is."""
        known = set(self.inference.tensorizer.vocabulary.actions)
        config = self.inference.model.config
        width = torch.zeros(1, config.width)
        usual = behaviour_of(self.inference.probes, tuple(known & set(actions)), config, width)
        return tuple(action in usual.log_odds for action in actions)

    def compare(self, question: PlanQuestion, timeline: Timeline) -> PlanComparison:
        """The options of the question, the best first, or why none can be put first.

        Raises:
            UnknownPlanActionError, UnusableGoalError, MalformedPlanQuestionError
        """
        self._require_known(question)
        goals = goals_of(
            question, self.inference.tensorizer.vocabulary, self.inference.model.config
        ).to(self.inference.device)
        request = PredictionRequest(
            prediction_id=question.comparison_id,
            patient_id=question.patient_id,
            as_of=question.as_of,
            received_by=question.received_by,
            seed=question.seed,
        )
        # Whoever is too unlike the training patients for a forecast is so for a plan.
        usual = self.inference.forecast([(request, timeline)])[0]
        capsule = replace(usual.capsule, config_digest=question.config_digest)
        if usual.abstention is not None:
            return _withheld(usual.abstention, capsule)
        cut = timeline.cut(question.as_of, received_by=question.received_by)
        with torch.no_grad():
            return self._compared(question, request, cut, goals, capsule)

    def _compared(
        self,
        question: PlanQuestion,
        request: PredictionRequest,
        timeline: Timeline,
        goals: Goals,
        capsule: Capsule,
    ) -> PlanComparison:
        inference = self.inference
        model, device = inference.model, inference.device
        history = read_history(model, inference.tensorizer, timeline, device)
        encoded = model.encode(history.batch, history.earlier)
        reading = read_at(model, history.batch, encoded, request)
        actions = inference.tensorizer.vocabulary.actions
        behaviour = behaviour_of(inference.probes, actions, model.config, reading.state)
        record = OnRecord.of(timeline)
        left, excluded = _filtered(question, record, behaviour)
        if not left:
            is_known = any(e.constraint is not Constraint.SUPPORT_UNKNOWN for e in excluded)
            nothing = _NOTHING_ALLOWED if is_known else _SUPPORT_UNKNOWN
            return _withheld(nothing, capsule, excluded)
        space = PlanSpace(
            model=model,
            reading=reading,
            bounds=torch.tensor([model.config.windows_days], dtype=torch.float32, device=device),
            goals=goals,
            slots=tuple(
                slot_of(model, inference.tensorizer, decision, ways, behaviour)
                for decision, ways in left
            ),
            actions=actions,
            record=record,
            rules=question.rules,
        )
        found, num_draws = searched(space, question.seed)
        options = self._options(question, space, found, history)
        closed = self._gate(question, options[0])
        return PlanComparison(
            options=() if closed else options,
            excluded=excluded,
            abstention=closed,
            num_considered=len(found.plans),
            capsule=_having_drawn(capsule, num_draws),
        )

    def _require_known(self, question: PlanQuestion) -> None:
        known = set(self.inference.tensorizer.vocabulary.actions)
        ways = [way for decision in question.decisions for way in decision.ways()]
        # How usual it is that something is stopped, no probe says yet.
        unknown = {
            way.label: None
            for way in ways
            if any(a.code.key not in known or a.phase is Phase.END for a in way.actions)
        }
        if unknown:
            raise UnknownPlanActionError(f"the model never learned: {', '.join(unknown)}")
        end = support_window(self.inference.model.config).end
        if end is not None and any(a.after >= end for way in ways for a in way.actions):
            raise MalformedPlanQuestionError(
                f"what is usual is known for decisions within {end / timedelta(days=1):g} days"
            )

    def _options(
        self, question: PlanQuestion, space: PlanSpace, found: Found, history: History
    ) -> tuple[PlanOption, ...]:
        rows = _distinct(found.plans, space, question.num_options)
        energies, parts = space.cost(torch.tensor(rows))
        options = [
            PlanOption(
                taken=space.taken(row),
                energy=energy,
                parts=tuple(map(EnergyPart, PARTS, amounts)),
                support=min(shares),
                least_usual=_least_usual(space, row, shares),
                readouts=self._course(question, space, row, history),
            )
            for row, energy, amounts, shares in zip(
                rows,
                energies.tolist(),
                parts.tolist(),
                space.shares(torch.tensor(rows)).tolist(),
                strict=True,
            )
        ]
        return tuple(sorted(options, key=lambda option: option.energy))

    def _course(
        self, question: PlanQuestion, space: PlanSpace, row: Sequence[int], history: History
    ) -> tuple[Readout, ...]:
        """What is wanted, as it is expected among similar patients under this plan."""
        model = self.inference.model
        latents, raw = model.forecast(space.reading, space.bounds, space.plan(torch.tensor([row])))
        answer = Answer(space.reading, latents[0], raw)
        speaker = Speaker(
            vocabulary=self.inference.tensorizer.vocabulary,
            windows=model.config.windows_days,
            calibration=self.inference.calibration,
            limits=self.inference.limits,
        )
        horizons = self.inference.horizons
        spoken = speaker.risks(answer, _NOTHING_SHOWN, (*horizons, model.config.whole))
        wanted = {goal.code.key for goal in question.goals}
        return (
            *(r for r in spoken if r.name in question.risks),
            *(
                r
                for r in speaker.quantities(answer, history, horizons)
                if r.code is not None and r.code.key in wanted
            ),
        )

    def _gate(self, question: PlanQuestion, best: PlanOption) -> Abstention | None:
        if best.support < self.inference.limits.min_support:
            return _PLAN_UNUSUAL
        for name in (*question.risks, *(goal.code.key for goal in question.goals)):
            said = [r for r in best.readouts if name in (r.name, r.code.key if r.code else "")]
            withheld = [r.abstention for r in said if r.abstention is not None]
            if len(withheld) == len(said):
                return withheld[0] if withheld else _NOT_SAID
        return None


def searched(space: PlanSpace, seed: int) -> tuple[Found, int]:
    """Every plan where they are few; else a beam, and cross-entropy from the best of it.

    Also how many of them a search by chance came to.
    """
    choices = space.choices()
    num_plans = 1
    for size in choices.sizes:
        num_plans *= size
    if num_plans <= _FEW:
        return enumerate_all(space, choices), 0
    first = beam(space, choices)
    generator = torch.Generator().manual_seed(seed)
    proposals = tuple(tuple(row) for row in first.plans[:8].tolist())
    second = cem(space, replace(choices, proposals=proposals), generator)
    return _merged(first, second), len(second.plans)


def _having_drawn(capsule: Capsule, num_draws: int) -> Capsule:
    computation = capsule.computation
    if computation is None:
        return capsule
    return replace(capsule, computation=replace(computation, num_draws=num_draws))


def _merged(one: Found, other: Found) -> Found:
    plans, energies = torch.cat([one.plans, other.plans]), torch.cat([one.energies, other.energies])
    order = energies.argsort(stable=True)
    return Found(plans[order], energies[order])


def _filtered(
    question: PlanQuestion, record: OnRecord, behaviour: Behaviour
) -> tuple[list[tuple[PlanDecision, list[Taken]]], tuple[Excluded, ...]]:
    """The decisions that can be taken, each with the ways that may be; and why others may not."""
    left: list[tuple[PlanDecision, list[Taken]]] = []
    excluded: dict[Excluded, None] = {}
    for decision in question.decisions:
        kept = []
        for way in decision.ways():
            reasons = [
                (b.constraint, b.detail) for b in broken(way.actions, record, question.rules)
            ]
            if any(a.code.key not in behaviour.log_odds for a in way.actions):
                reasons.append(
                    (Constraint.SUPPORT_UNKNOWN, "too few patients to say how usual it is")
                )
            for constraint, detail in reasons:
                excluded[
                    Excluded(
                        decision=decision.name,
                        choice=way.choice,
                        label=way.label,
                        constraint=constraint,
                        detail=detail,
                    )
                ] = None
            if not reasons:
                kept.append(way)
        if kept:
            left.append((decision, kept))
    return left, tuple(excluded)


def _distinct(plans: Int[Tensor, "n S"], space: PlanSpace, num: int) -> list[list[int]]:
    """The best `num` plans that differ in more than moments, and that of no change in any case."""
    chosen: dict[tuple[str, ...], list[int]] = {}
    none = [0] * len(space.slots)
    for row in plans.tolist():
        what = tuple(f"{way.decision}={way.choice}" for way in space.taken(row))
        chosen.setdefault(what, row)
        if len(chosen) >= num:
            break
    chosen.setdefault((), none)
    return list(chosen.values())


def _least_usual(space: PlanSpace, row: Sequence[int], shares: Sequence[float]) -> str:
    least = min(range(len(shares)), key=shares.__getitem__)
    slot, way = space.slots[least], row[least]
    return slot.ways[way - 1].label if way else f"{NO_CHANGE}: {slot.decision.label}"


def _withheld(
    abstention: Abstention, capsule: Capsule, excluded: tuple[Excluded, ...] = ()
) -> PlanComparison:
    return PlanComparison(
        options=(), excluded=excluded, abstention=abstention, num_considered=0, capsule=capsule
    )
