"""One training step's questions, and the loss of the model's answers to them.

Knows which parts of the objective apply to which window. Does not know files, optimisers or how the
questions were drawn; randomness comes only from the generator it is given.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clinical.worldmodel import objective
from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.config import LossConfig
from clinical.worldmodel.grounding import Lesson, grounding, outcomes
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.ranks import ALONE, Ranks
from clinical.worldmodel.regulariser import Spread
from clinical.worldmodel.targets import members
from clinical.worldmodel.tensorize import ACTION, MODALITY_COLUMN

NUM_MODALITIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """How the context is spoiled so that fall-backs are learned (design 7.1, 7.4, 7.15)."""

    exact_code: float = 0.15
    modality: float = 0.25  # of the patients lose laboratory values, as many lose vital signs
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
    context, num_heads = lesson.context, model.config.num_heads
    is_kept, is_exact = _corrupt(context, corruption, generator)
    encoded = model.encode(context, is_kept=is_kept, is_exact=is_exact)
    reading = model.read(context, encoded, lesson.row, lesson.day)
    events = encoded.events if lesson.future is context else model.embedding(lesson.future)
    found = outcomes(model, lesson, action_tokens)
    inside = members(lesson.future, lesson.future_row, lesson.day, lesson.bounds, lesson.may_enter)
    shape = lesson.bounds.shape[:2]
    targets = model.windows(events, inside).reshape(*shape, -1)
    is_given = torch.rand(len(lesson.row), generator=generator, device=targets.device)
    plan = true_plan(model, lesson, events, is_given >= corruption.plan)
    latents = model.predictor(reading.state, lesson.bounds, plan)
    is_target = found.is_followed & (inside.counts > 0).reshape(shape)
    match, spread = _latent_parts(
        model, latents, targets, is_target, lesson, config, generator, ranks
    )
    head = torch.randint(num_heads, lesson.row.shape, generator=generator, device=targets.device)
    question = torch.arange(len(head), device=head.device)
    spoken = latents[question, :, head][:, :, None]
    hazards = model.hazards(reading, plan)
    hazards = hazards and hazards.of_head(head)
    raw = model.readouts(spoken, reading.state, reading.features, lesson.bounds, hazards)
    weight = lesson.bootstrap[question, head]
    parts = {"latent": match, "spread": spread} | grounding(raw, found, weight, ranks)
    states = reading.state[:, None].expand(-1, targets.shape[1], -1)
    guessed = model.inverse(torch.cat([states, targets], dim=-1))
    inverse = torch.nn.functional.binary_cross_entropy_with_logits(
        guessed, found.actions, reduction="none"
    )
    parts["inverse"] = objective.masked_mean(
        inverse, is_target[..., None].expand_as(inverse), ranks
    )
    ground = 2 * parts["values"] + parts["measured"] + parts["happened"]
    parts["total"] = (
        (1 - config.regulariser) * match
        + config.regulariser * spread
        + config.grounding * ground
        + config.inverse * parts["inverse"]
    )
    return parts


def _latent_parts(
    model: Jepa,
    latents: Float[Tensor, "Q H K L"],
    targets: Float[Tensor, "Q H L"],
    is_target: Bool[Tensor, "Q H"],
    lesson: Lesson,
    config: LossConfig,
    generator: torch.Generator,
    ranks: Ranks,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    num_heads = latents.shape[2]
    projected, foretold = model.projector(
        targets[is_target], latents[is_target].flatten(0, 1), ranks
    )
    foretold = foretold.reshape(-1, num_heads, foretold.shape[-1])
    question, _ = torch.nonzero(is_target, as_tuple=True)
    match = objective.latent_loss(foretold, projected, lesson.bootstrap[question], ranks)
    # One window per question: windows of one question are no independent sample.
    luck = torch.rand(len(question), generator=generator, device=latents.device)
    best = torch.zeros(len(targets), device=latents.device)
    best = best.scatter_reduce(0, question, luck, reduce="amax", include_self=True)
    chosen = projected[luck == best[question]]
    return match, Spread(targets.shape[-1], config, generator, ranks)(chosen)


def _corrupt(
    context: TimelineBatch, corruption: Corruption, generator: torch.Generator
) -> tuple[Bool[Tensor, " N"], Bool[Tensor, " N"]]:
    num, device = len(context.event_concept), context.event_concept.device
    is_exact = torch.rand(num, generator=generator, device=device) >= corruption.exact_code
    # Draw per timeline: below p lose modality 1, below 2p modality 2, others nothing.
    luck = torch.rand(context.num_timelines + 1, generator=generator, device=device)
    lost = 1 + (luck / corruption.modality).long() if corruption.modality else luck.long() - 1
    lost[-1] = NUM_MODALITIES  # static facts, of no row, lose nothing
    is_kept = context.event_attributes[:, MODALITY_COLUMN] != lost[context.event_row]
    return is_kept, is_exact
