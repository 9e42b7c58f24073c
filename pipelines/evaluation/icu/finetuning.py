"""The whole network taught the outcome: after design 7.15, with an average of its late weights.

Knows outcomes of the stays that it is taught, and of no others. From a network that was never trained
it is the row "supervised only".
"""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.grounding import Lesson, grounding, outcomes
from clinical.worldmodel.jepa import Encoded, Jepa
from clinical.worldmodel.randomness import Dropout, initialise, seed_dropout
from pipelines.evaluation.icu.lessons import ADMISSION_DAY, RECORDED_HOURS, draw_hours
from pipelines.evaluation.icu.states import HOURS, pooled, read_hours
from pipelines.evaluation.icu.stays import StaySet
from pipelines.training.train import on
from pipelines.training.tuning import LateMean, tuning_schedule

_FIRST_ASKED = 12.0
_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """How the network is taught the outcome."""

    num_epochs: int = 7
    stays_per_step: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    earlier: float = 0.3  # of the outcome asked at 12 to 48 hours
    grounding: float = 0.1
    beside: float = 0.5  # of the length of stay, the severity scores and a later death
    exact_code: float = 0.15
    dropout: float = 0.3  # of the head
    averaged_share: float = 0.6
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Taught:
    """What the network is taught of each stay: `died`, and beside it numbers that may be nan."""

    died: Float[Tensor, " n"]
    beside: Float[Tensor, "n k"]  # standardised; the last is a later death, 0 or 1


class RiskHead(nn.Module):
    """From the pooled states to the log odds of the outcome, and the numbers beside it."""

    def __init__(self, width: int, num_beside: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * width, width)
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(width, 1 + num_beside)

    @override
    def forward(self, state: Float[Tensor, "n h D"]) -> Float[Tensor, "n h k"]:
        """The outcome first, at every hour."""
        hidden = nn.functional.silu(self.hidden(self.dropout(pooled(state))))
        said: Tensor = self.out(self.dropout(hidden))
        return said


class Clinician(nn.Module):
    """A network and the head that speaks of the outcome."""

    def __init__(self, model: Jepa, num_beside: int, config: FineTuning) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.head = RiskHead(model.config.width, num_beside, config.dropout)

    @torch.no_grad()
    def log_odds(self, stays: StaySet, places: Tensor) -> Float[Tensor, "n h"]:
        """Of the outcome, at every hour of `HOURS`."""
        self.eval()
        found = []
        for chunk in torch.split(places, _AT_ONCE):
            batch = stays.joined(chunk.tolist())
            state, _ = read_hours(self.model, batch, self.model.encode(batch), HOURS)
            found.append(self.head(state)[..., 0])
        return torch.cat(found)


def fine_tune(
    model: Jepa,
    stays: StaySet,
    places: Tensor,
    taught: Taught,
    config: FineTuning,
    device: str = "cpu",
) -> Clinician:
    """`model` is copied; `taught` has a row for each of `places`. What is returned is on the CPU."""
    generator = torch.Generator().manual_seed(config.seed)
    clinician = Clinician(model, taught.beside.shape[1], config)
    initialise(clinician.head, generator)
    seed_dropout(clinician, generator if device == "cpu" else on(generator, device))
    clinician.to(device)
    for parameter in (
        *clinician.model.windows.parameters(),
        *clinician.model.projector.parameters(),
    ):
        parameter.requires_grad = False
    taught_weights = [p for p in clinician.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        taught_weights, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    num_steps = config.num_epochs * max(1, len(places) // config.stays_per_step)
    late = LateMean(taught_weights, num_steps, config.averaged_share)
    clinician.train()
    order = torch.randperm(len(places), generator=generator)
    for step in range(num_steps):
        if len(order) < min(config.stays_per_step, len(places)):
            order = torch.randperm(len(places), generator=generator)
        chosen, order = order[: config.stays_per_step], order[config.stays_per_step :]
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * tuning_schedule(step / num_steps)
        loss = _loss(
            clinician,
            stays.joined(places[chosen].tolist()).to(device),
            _rows(taught, chosen, device),
            config,
            generator,
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(taught_weights, 1.0)
        optimiser.step()
        late.take(step + 1)
    late.settle()
    return clinician.to("cpu").eval()


def _rows(taught: Taught, chosen: Tensor, device: str) -> Taught:
    return Taught(taught.died[chosen].to(device), taught.beside[chosen].to(device))


def _loss(
    clinician: Clinician,
    batch: TimelineBatch,
    taught: Taught,
    config: FineTuning,
    generator: torch.Generator,
) -> Tensor:
    model = clinician.model
    luck = torch.rand(len(batch.event_concept), generator=generator).to(batch.birth_day.device)
    encoded = model.encode(batch, is_exact=luck >= config.exact_code)
    state, _ = read_hours(model, batch, encoded, HOURS)
    said = clinician.head(state)
    died = taught.died[:, None].expand(-1, len(HOURS))
    errors = nn.functional.binary_cross_entropy_with_logits(said[..., 0], died, reduction="none")
    asked = torch.tensor([hour >= _FIRST_ASKED for hour in HOURS], device=errors.device)
    loss: Tensor = errors[:, -1].mean() + config.earlier * errors[:, asked].mean()
    if config.beside:
        loss = loss + config.beside * _beside(said[:, -1, 1:], taught.beside)
    if config.grounding:
        loss = loss + config.grounding * _grounding(model, batch, encoded, generator)
    return loss


def _beside(said: Float[Tensor, "n k"], known: Float[Tensor, "n k"]) -> Tensor:
    is_known = ~torch.isnan(known)
    values = torch.nan_to_num(known)
    numbers = nn.functional.smooth_l1_loss(said[:, :-1], values[:, :-1], reduction="none")
    later = nn.functional.binary_cross_entropy_with_logits(
        said[:, -1:], values[:, -1:], reduction="none"
    )
    errors = torch.cat([numbers, later], dim=1) * is_known
    return errors.sum() / is_known.sum().clamp(min=1)


def _grounding(
    model: Jepa, batch: TimelineBatch, encoded: Encoded, generator: torch.Generator
) -> Tensor:
    num, device = batch.num_timelines, batch.birth_day.device
    hours = draw_hours(num, generator).to(device)
    bounds = torch.tensor(model.config.windows_days, dtype=torch.float32, device=device)
    bounds = bounds.expand(num, -1, -1)
    row = torch.arange(num, device=device)
    lesson = Lesson(
        context=batch,
        row=row,
        day=ADMISSION_DAY + hours / 24,
        future=batch,
        future_row=row,
        may_enter=torch.ones(len(batch.event_concept), dtype=torch.bool, device=device),
        bounds=bounds,
        followed_days=((RECORDED_HOURS - hours) / 24).float(),
        bootstrap=torch.ones(num, model.config.num_heads, device=device),
    )
    _, raw = model.forecast(model.read(batch, encoded, row, lesson.day), bounds)
    parts = grounding(
        raw,
        outcomes(model, lesson, torch.zeros(0, dtype=torch.int64, device=device)),
        torch.ones(num, device=device),
    )
    return 2 * parts["values"] + parts["measured"]
