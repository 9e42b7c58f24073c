"""GRU-D (Che et al. 2018): a supervised recurrent network that lets missing values fade to the mean.

Hourly steps of every series with a mask and the time since it was last measured; input and hidden
state decay with that time. Written from the published equations; small, and trained on the labels
alone, as the table's "what a supervised network does".
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.randomness import Dropout, initialise, seed_dropout


@dataclass(frozen=True, slots=True, kw_only=True)
class GruDConfig:
    """Sizes and training of the network."""

    width: int = 64
    num_epochs: int = 12
    rows_per_step: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    dropout: float = 0.3
    averaged_share: float = 0.4
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Grid:
    """Values by the step: standardised, 0 where not measured; `age` in steps since the last one."""

    value: Float[Tensor, "n t s"]
    mask: Float[Tensor, "n t s"]
    age: Float[Tensor, "n t s"]
    about: Float[Tensor, "n d"]

    def rows(self, places: Tensor) -> "Grid":
        """Some of the rows."""
        return Grid(self.value[places], self.mask[places], self.age[places], self.about[places])


def grid_of(
    batch: TimelineBatch, num_series: int, begin_day: float, num_hours: int, about: Tensor
) -> Grid:
    """The last value of each series in each hour after `begin_day`."""
    is_numeric = batch.value_series < num_series
    event, series = batch.value_event[is_numeric], batch.value_series[is_numeric]
    hour = ((batch.event_day[event] - begin_day) * 24).floor().long()
    inside = (hour >= 0) & (hour < num_hours)
    row, hour, series = batch.event_row[event][inside], hour[inside], series[inside]
    shape = (batch.num_timelines, num_hours, num_series)
    # Values come in order of time: of several in one hour the last one written stays.
    place = (row * num_hours + hour) * num_series + series
    order = torch.arange(len(place))
    last = torch.full((math.prod(shape),), -1).scatter_reduce(0, place, order, reduce="amax")
    mask = last >= 0
    z = batch.value_z[is_numeric][inside].clamp(-5.0, 5.0)
    value = torch.where(mask, z[last.clamp(min=0)] if len(z) else torch.zeros(len(mask)), 0.0)
    mask = mask.reshape(shape).float()
    return Grid(value.reshape(shape), mask, _ages(mask), about)


def _ages(mask: Float[Tensor, "n t s"]) -> Float[Tensor, "n t s"]:
    ages = [torch.zeros_like(mask[:, 0])]
    for step in range(1, mask.shape[1]):
        ages.append(torch.where(mask[:, step - 1] > 0, 1.0, ages[-1] + 1))
    return torch.stack(ages, dim=1)


class GruD(nn.Module):
    """The network; `forward` gives the log odds of the outcome after the last step."""

    def __init__(self, num_series: int, num_about: int, config: GruDConfig) -> None:
        super().__init__()
        self.width = config.width
        self.input_decay = nn.Parameter(torch.zeros(2, num_series))
        self.state_decay = nn.Linear(num_series, config.width)
        self.into = nn.Linear(2 * num_series, 3 * config.width)
        self.again = nn.Linear(config.width, 3 * config.width, bias=False)
        self.dropout = Dropout(config.dropout)
        self.out = nn.Linear(config.width + num_about, 1)

    @override
    def forward(self, grid: Grid) -> Float[Tensor, " n"]:
        """Log odds."""
        slope, offset = self.input_decay
        fade = (-nn.functional.relu(grid.age * slope + offset)).exp()
        forget = (-nn.functional.relu(self.state_decay(grid.age))).exp()
        state = grid.value.new_zeros(len(grid.value), self.width)
        last = torch.zeros_like(grid.value[:, 0])
        for step in range(grid.value.shape[1]):
            mask = grid.mask[:, step]
            # Values are standardised, so that the mean towards which they fade is 0.
            seen = mask * grid.value[:, step] + (1 - mask) * fade[:, step] * last
            last = mask * grid.value[:, step] + (1 - mask) * last
            state = forget[:, step] * state
            reset, update, new = self.into(torch.cat([seen, mask], dim=1)).chunk(3, dim=1)
            held_reset, held_update, held_new = self.again(state).chunk(3, dim=1)
            update = (update + held_update).sigmoid()
            new = (new + (reset + held_reset).sigmoid() * held_new).tanh()
            state = (1 - update) * state + update * new
        logits: Tensor = self.out(torch.cat([self.dropout(state), grid.about], dim=1)).squeeze(1)
        return logits


def risk_logits(
    learned: Grid, had: Float[Tensor, " n"], asked: Grid, config: GruDConfig
) -> Float[Tensor, " m"]:
    """Log odds for `asked` of a network taught by `learned`, its late weights averaged."""
    generator = torch.Generator().manual_seed(config.seed)
    model = GruD(learned.value.shape[2], learned.about.shape[1], config)
    initialise(model, generator)
    seed_dropout(model, generator)
    weights = list(model.parameters())
    optimiser = torch.optim.AdamW(
        weights, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    averaged, num_averaged = [torch.zeros_like(weight) for weight in weights], 0
    model.train()
    for epoch in range(config.num_epochs):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * (1 - 0.9 * epoch / config.num_epochs)
        for chosen in torch.split(
            torch.randperm(len(had), generator=generator), config.rows_per_step
        ):
            logits = model(learned.rows(chosen))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, had[chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            if epoch >= config.num_epochs * (1 - config.averaged_share):
                num_averaged += 1
                with torch.no_grad():
                    for mean, weight in zip(averaged, weights, strict=True):
                        mean.add_((weight - mean) / num_averaged)
    with torch.no_grad():
        for mean, weight in zip(averaged, weights, strict=True):
            weight.copy_(mean)
        found: Tensor = model.eval()(asked)
    return found
