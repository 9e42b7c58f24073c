"""The predictor: from the state and a plan to a latent for every horizon asked, in one pass.

Knows the state, planned actions and windows given as continuous days. A horizon sees only actions
planned before its window ends, and no other horizon: what is asked beside it changes nothing.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.randomness import Dropout
from clinical.worldmodel.targets import (
    NUM_DELAY_FEATURES,
    NUM_WINDOW_FEATURES,
    delay_features,
    window_features,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Planned actions per question: their event vectors and days after the question, padded.

    Where `is_given` is False the question is of usual care, and whatever else is here is not seen.
    """

    actions: Float[Tensor, "Q A D"]
    days: Float[Tensor, "Q A"]
    is_action: Bool[Tensor, "Q A"]
    is_given: Bool[Tensor, " Q"]

    @classmethod
    def usual_care(cls, state: Float[Tensor, "Q D"]) -> "Plan":
        """No plan: the course under usual care."""
        num, width = state.shape
        return cls(
            state.new_zeros(num, 0, width),
            state.new_zeros(num, 0),
            torch.zeros(num, 0, dtype=torch.bool, device=state.device),
            torch.zeros(num, dtype=torch.bool, device=state.device),
        )


_LEAST_VARIANCE = 1e-4


class PredictorLayer(nn.Module):
    """Attention and perceptron, conditioned on the state by zero-initialised AdaLN (Peebles & Xie 2023)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.predictor_width or config.latent
        self.num_attention_heads = config.num_attention_heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(config.width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )
        self.dropout = Dropout(config.dropout)

    def settle(self) -> None:
        """Begin unconditioned."""
        self.modulation.weight.zero_()
        self.modulation.bias.zero_()

    @override
    def forward(
        self,
        tokens: Float[Tensor, "Q n L"],
        state: Float[Tensor, "Q D"],
        may_see: Bool[Tensor, "Q n n"],
    ) -> Float[Tensor, "Q n L"]:
        """Tokens after one layer; `may_see[q, i, j]` lets token i look at token j."""
        change = self.modulation(nn.functional.silu(state))[:, None].chunk(6, dim=-1)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = change
        normed = self.norm(tokens) * (1 + scale) + shift
        tokens = tokens + (1 + gate) * self.dropout(self._attend(normed, may_see))
        normed = self.norm(tokens) * (1 + mlp_scale) + mlp_shift
        result: Tensor = tokens + (1 + mlp_gate) * self.dropout(self.mlp(normed))
        return result

    def _attend(
        self, tokens: Float[Tensor, "Q n L"], may_see: Bool[Tensor, "Q n n"]
    ) -> Float[Tensor, "Q n L"]:
        num, length, width = tokens.shape
        shape = (num, length, self.num_attention_heads, width // self.num_attention_heads)
        query, key, value = (
            part.reshape(shape).transpose(1, 2) for part in self.qkv(tokens).chunk(3, dim=-1)
        )
        mixed = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=may_see[:, None]
        )
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(num, length, width))
        return result


class Predictor(nn.Module):
    """A small transformer over `[plan token, actions, horizons]` with `K` bootstrap heads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.predictor_width or config.latent
        self.clock_days = config.clock_days
        self.plan_tokens = nn.Embedding(2, width)  # 0: usual care, 1: a plan is given
        self.action = nn.Linear(config.width + NUM_DELAY_FEATURES, width)
        self.horizon = nn.Linear(NUM_WINDOW_FEATURES, width)
        self.state = nn.Linear(config.width, width)
        self.layers = nn.ModuleList(
            PredictorLayer(config) for _ in range(config.num_predictor_layers)
        )
        self.heads = nn.Linear(width, config.num_heads * config.latent)
        self.num_heads = config.num_heads
        self.variance = (
            nn.Linear(width, config.num_heads * config.latent) if config.has_variance else None
        )

    @override
    def forward(
        self,
        state: Float[Tensor, "Q D"],
        bounds: Float[Tensor, "Q H 2"],
        plan: Plan,
        acted_until: Float[Tensor, "Q H"] | None = None,
    ) -> Float[Tensor, "Q H K L"]:
        """One latent per horizon and head; `bounds` are the days at which each window starts and ends.

        A horizon sees the actions planned before `acted_until`, which is the window's end unless given.
        """
        return self.latents(self.tokens(state, bounds, plan, acted_until))

    def latents(self, tokens: Float[Tensor, "Q H w"]) -> Float[Tensor, "Q H K L"]:
        """What each head foretells, from the horizons' tokens."""
        return torch.unflatten(self.heads(tokens), -1, (self.num_heads, -1))

    def variances(self, tokens: Float[Tensor, "Q H w"]) -> Float[Tensor, "Q H K L"]:
        """How far, squared, each head expects each number of the latent from what it foretells."""
        assert self.variance is not None, "the model has no variances"
        return torch.unflatten(
            nn.functional.softplus(self.variance(tokens)) + _LEAST_VARIANCE,
            -1,
            (self.num_heads, -1),
        )

    def tokens(
        self,
        state: Float[Tensor, "Q D"],
        bounds: Float[Tensor, "Q H 2"],
        plan: Plan,
        acted_until: Float[Tensor, "Q H"] | None = None,
    ) -> Float[Tensor, "Q H w"]:
        """The horizons after the last layer; see `forward`."""
        asked = window_features(bounds, self.clock_days)
        horizons = self.horizon(asked) + self.state(state)[:, None]
        delays = delay_features(plan.days / self.clock_days)
        actions = self.action(torch.cat([plan.actions, delays], dim=-1))
        lead = self.plan_tokens(plan.is_given.long())[:, None]
        tokens = torch.cat([lead, actions, horizons], dim=1)
        may_see = visibility(plan, bounds[..., 1] if acted_until is None else acted_until)
        for layer in self.layers:
            tokens = layer(tokens, state, may_see)
        asked_tokens: Tensor = tokens[:, -bounds.shape[1] :]
        return asked_tokens


def visibility(plan: Plan, acted_until: Float[Tensor, "Q H"]) -> Bool[Tensor, "Q n n"]:
    """Who may look at whom: everyone at itself and the plan token, and at actions before it.

    "Before" is: before its `acted_until`, for a horizon; not later, for an action.
    """
    num, num_actions = plan.days.shape
    num_horizons = acted_until.shape[1]
    length = 1 + num_actions + num_horizons
    seen = torch.eye(length, dtype=torch.bool, device=plan.days.device).repeat(num, 1, 1)
    seen[:, :, 0] = True
    usable = plan.is_action & plan.is_given[:, None]
    actions = slice(1, 1 + num_actions)
    seen[:, actions, actions] |= (plan.days[:, None, :] <= plan.days[:, :, None]) & usable[:, None]
    is_before = plan.days[:, None, :] < acted_until[:, :, None]
    seen[:, 1 + num_actions :, actions] = is_before & usable[:, None]
    return seen
