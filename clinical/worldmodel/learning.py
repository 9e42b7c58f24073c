"""One training step's questions, and the loss of the model's answers to them.

Knows which parts of the objective apply to which window. Does not know files, optimisers or how the
questions were drawn; randomness comes only from the generator it is given.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clinical.worldmodel import objective
from clinical.worldmodel.config import LossConfig, ModelConfig
from clinical.worldmodel.grounding import Lesson, Outcomes, grounding, outcomes
from clinical.worldmodel.jepa import Jepa, Reading
from clinical.worldmodel.latents import aims, latent_parts, window_targets
from clinical.worldmodel.luck import Luck
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.ranks import ALONE, Ranks
from clinical.worldmodel.rollout import rollout_loss, whole_reach
from clinical.worldmodel.targets import members
from clinical.worldmodel.tensorize import ACTION, MODALITY_COLUMN
from clinical.worldmodel.uncertainty import variance_loss

NUM_MODALITIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """How the context is spoiled so that fall-backs are learned (design 7.1, 7.4, 7.15)."""

    exact_code: float = 0.15
    modality: float = 0.25  # of the patients lose laboratory values, as many lose vital signs
    recent: float = 0.0  # of the patients lose all that became known shortly before a question
    plan: float = 0.4


def true_plan(
    model: Jepa, lesson: Lesson, events: Float[Tensor, "N D"], is_given: Bool[Tensor, " Q"]
) -> Plan:
    """The actions that really followed, soonest first, as if they had been planned."""
    reach = lesson.bounds[..., 1].amax(1)
    bounds = torch.stack([torch.zeros_like(reach), reach], dim=-1)[:, None]
    done = members(
        lesson.future, lesson.future_row, lesson.day, bounds, lesson.may_enter, role=ACTION
    )
    # Pairs come ordered by question and then by time: the place within a question is its rank.
    counts = torch.bincount(done.window, minlength=len(reach))
    rank = torch.arange(len(done.window), device=reach.device)
    rank = rank - (counts.cumsum(0) - counts)[done.window]
    kept = torch.nonzero(rank < model.config.max_actions).squeeze(1)
    where = (done.window[kept], rank[kept])
    shape = (len(reach), model.config.max_actions)
    return Plan(
        events.new_zeros(*shape, events.shape[1]).index_put(where, events[done.event[kept]]),
        done.delay.new_zeros(shape).index_put(where, done.delay[kept]),
        torch.zeros(shape, dtype=torch.bool, device=reach.device).index_put(
            where, torch.ones_like(kept, dtype=torch.bool)
        ),
        is_given,
    )


def training_loss(
    model: Jepa,
    lesson: Lesson,
    action_tokens: Int[Tensor, " n"],
    *,
    config: LossConfig,
    corruption: Corruption,
    generator: torch.Generator,
    ranks: Ranks = ALONE,
) -> dict[str, Float[Tensor, ""]]:
    """The parts of the objective of design 7.5, and their weighted sum under `total`.

    With several ranks, the parts of this rank: their average over the ranks is that of the whole.
    """
    if model.teacher is not None and model.training:
        model.teacher.follow(model, config.teacher_decay)
    luck = Luck(generator, lesson.part)
    read = _read(model, lesson, action_tokens, corruption, luck)
    tokens = model.predictor.tokens(read.reading.state, lesson.bounds, read.plan)
    latents = model.predictor.latents(tokens)
    windows, counts = window_targets(model, lesson, read.events)
    is_target = read.found.is_followed & (counts > 0)
    aimed = aims(model, lesson, windows, latents)
    match, spread = latent_parts(model, aimed, is_target, lesson, read.events, config, luck, ranks)
    parts = {"latent": match, "spread": spread}
    parts |= _grounded(model, lesson, read, latents, config, luck, ranks)
    parts["inverse"] = _inverse_loss(
        model, read.reading, aimed[0].targets, read.found, is_target, ranks
    )
    if model.config.has_variance:
        parts["variance"] = variance_loss(
            latents,
            model.predictor.variances(tokens),
            aimed[0].targets,
            is_target,
            lesson.bootstrap,
            config.variance_beta,
            ranks,
        )
    if model.config.can_compose:
        whole = true_plan(model, whole_reach(model, lesson), read.events, read.plan.is_given)
        parts["rollout"] = rollout_loss(
            model, lesson, read.reading, whole, read.events, config=config, luck=luck, ranks=ranks
        )
    return parts | {"total": _total(parts, config)}


@dataclass(frozen=True, slots=True)
class _Read:
    """The lesson as the network reads it, and what then came of it."""

    events: Float[Tensor, "N D"]  # of the future
    reading: Reading
    plan: Plan
    found: Outcomes


def _read(
    model: Jepa,
    lesson: Lesson,
    action_tokens: Int[Tensor, " n"],
    corruption: Corruption,
    luck: Luck,
) -> _Read:
    context = lesson.context
    is_kept, is_exact = _corrupt(lesson, model.config, corruption, luck)
    encoded = model.encode(context, is_kept=is_kept, is_exact=is_exact)
    reading = model.read(context, encoded, lesson.row, lesson.day)
    events = encoded.events if lesson.future is context else model.embedding(lesson.future)
    found = outcomes(model, lesson, action_tokens)
    is_given = luck.questions(len(lesson.row)) >= corruption.plan
    return _Read(events, reading, true_plan(model, lesson, events, is_given), found)


def _grounded(
    model: Jepa,
    lesson: Lesson,
    read: _Read,
    latents: Float[Tensor, "Q H K L"],
    config: LossConfig,
    luck: Luck,
    ranks: Ranks,
) -> dict[str, Float[Tensor, ""]]:
    """The losses of everything that is read in the units of the record; of one head a question."""
    head = luck.heads(len(lesson.row), model.config.num_heads)
    question = torch.arange(len(head), device=head.device)
    reading, plan, told = read.reading, read.plan, latents
    if not config.grounds_encoder:
        reading, plan, told = _cut(reading, plan, latents)
    spoken = told[question, :, head][:, :, None]
    hazards = model.hazards(reading, plan)
    hazards = hazards and hazards.of_head(head)
    raw = model.readouts(spoken, reading.state, reading.features, lesson.bounds, hazards)
    weight = lesson.bootstrap[question, head]
    parts = grounding(raw, read.found, weight, ranks)
    if model.means is not None:
        features = read.reading.features
        expected = model.means(told, reading.state, reading.features, lesson.bounds, plan)
        parts["means"] = model.means.loss(
            expected, read.found.values, features, lesson.bounds, lesson.bootstrap, ranks
        )
    return parts | _direct(model, spoken[:, :, 0], read.found, weight, ranks)


def _total(parts: dict[str, Float[Tensor, ""]], config: LossConfig) -> Float[Tensor, ""]:
    """The weighted sum; a part that the model does not have is not in it."""
    match, spread = parts["latent"], parts["spread"]
    ground = 2 * parts["values"] + parts["measured"] + parts["happened"] + parts.get("direct", 0.0)
    total = (
        config.latent * ((1 - config.regulariser) * match + config.regulariser * spread)
        + config.grounding * ground
        + config.inverse * parts["inverse"]
    )
    for name, weight in (
        ("means", config.means),
        ("variance", config.variance),
        ("rollout", config.rollout),
    ):
        if name in parts:
            total = total + weight * parts[name]
    return total


def _cut(
    reading: Reading, plan: Plan, latents: Float[Tensor, "Q H K L"]
) -> tuple[Reading, Plan, Float[Tensor, "Q H K L"]]:
    """The same, through which the readouts' losses teach nothing."""
    state, actions = reading.state.detach(), plan.actions.detach()
    return replace(reading, state=state), replace(plan, actions=actions), latents.detach()


def _inverse_loss(
    model: Jepa,
    reading: Reading,
    targets: Float[Tensor, "Q H L"],
    found: Outcomes,
    is_target: Bool[Tensor, "Q H"],
    ranks: Ranks,
) -> Float[Tensor, ""]:
    """How badly the actions in between are told from the state and the window that followed."""
    states = reading.state[:, None].expand(-1, targets.shape[1], -1)
    guessed = model.inverse(torch.cat([states, targets], dim=-1))
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        guessed, found.actions, reduction="none"
    )
    return objective.masked_mean(losses, is_target[..., None].expand_as(losses), ranks)


def _direct(
    model: Jepa,
    latents: Float[Tensor, "Q H L"],
    found: Outcomes,
    weight: Float[Tensor, " Q"],
    ranks: Ranks,
) -> dict[str, Float[Tensor, ""]]:
    if model.direct is None:
        return {}
    return {"direct": model.direct.loss(latents, found.values, found.is_followed, weight, ranks)}


def _corrupt(
    lesson: Lesson, config: ModelConfig, corruption: Corruption, luck: Luck
) -> tuple[Bool[Tensor, " N"], Bool[Tensor, " N"]]:
    context = lesson.context
    is_exact = luck.events(context) >= corruption.exact_code
    # Draw per timeline: below p lose modality 1, below 2p modality 2, others nothing.
    drawn = luck.timelines(context)
    lost = 1 + (drawn / corruption.modality).long() if corruption.modality else drawn.long() - 1
    lost[-1] = NUM_MODALITIES  # static facts, of no row, lose nothing
    is_kept = context.event_attributes[:, MODALITY_COLUMN] != lost[context.event_row]
    if corruption.recent:
        is_kept &= ~_recent(lesson, config, corruption.recent, luck)
    return is_kept, is_exact


def _recent(lesson: Lesson, config: ModelConfig, share: float, luck: Luck) -> Bool[Tensor, " N"]:
    """The events of the last stretch before one question of each unlucky patient.

    Stretches are log-uniform up to the end of the last trained window, in units of the clock.
    """
    context, device = lesson.context, lesson.day.device
    drawn = luck.questions(len(lesson.row), 3)
    longest = config.windows_days[-1][1] / config.clock_days
    span = ((1 + longest) ** drawn[:, 1] - 1).double() * config.clock_days
    best = torch.zeros(context.num_timelines, device=device)
    best = best.scatter_reduce(0, lesson.row, drawn[:, 0], reduce="amax")
    is_hit = (drawn[:, 0] == best[lesson.row]) & (drawn[:, 2] < share)
    end = torch.full((context.num_timelines + 1,), -torch.inf, dtype=torch.float64, device=device)
    end[lesson.row[is_hit]] = lesson.day[is_hit]
    start = end.clone()
    start[lesson.row[is_hit]] -= span[is_hit]
    day = context.event_day
    return (day > start[context.event_row]) & (day <= end[context.event_row])
