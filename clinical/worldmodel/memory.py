"""The causal memory: a gated linear recurrence that forgets with the real time that passed.

Knows bundles in order and the time between them, in units of the model's clock. Does not know what is in them, nor the future.

    m_t = exp(-softplus(rate) * g_t * log(1 + gap_t)) * (1 - i_t) * m_{t-1} + i_t * v_t

with gates `g_t`, `i_t` and value `v_t` computed from bundle t alone (the class of RG-LRU, De et al.
2024, and minGRU, Feng et al. 2024). Both factors of `m_{t-1}` are in (0, 1), so it cannot grow.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.randomness import Dropout

CHUNK = 256


def scan(
    keep: Float[Tensor, "B T D"], new: Float[Tensor, "B T D"], initial: Float[Tensor, "B D"]
) -> Float[Tensor, "B T D"]:
    """All `m_t = keep_t * m_{t-1} + new_t` of a chunk.

    On a CPU one place after the other, where that is a tenth of the work; elsewhere all at once.
    """
    if keep.device.type != "cpu":
        return doubling_scan(keep, new, initial)
    new, initial = new.to(keep.dtype), initial.to(keep.dtype)
    memories: Tensor = _Recurrence.apply(keep, new, initial)  # type: ignore[no-untyped-call]
    return memories


class _Recurrence(torch.autograd.Function):
    """The recurrence by its definition, and its gradient by the same recurrence backwards."""

    @staticmethod
    @override
    def forward(ctx: Any, keep: Tensor, new: Tensor, initial: Tensor) -> Tensor:
        memories = torch.empty_like(new)
        before = initial
        for kept, entered, memory in zip(
            keep.unbind(1), new.unbind(1), memories.unbind(1), strict=True
        ):
            torch.addcmul(entered, kept, before, out=memory)
            before = memory
        ctx.save_for_backward(keep, memories, initial)
        return memories

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep, memories, initial = ctx.saved_tensors
        arriving = gradients[0].unbind(1)
        total = torch.empty_like(memories)
        later, kept = total.unbind(1), keep.unbind(1)
        later[-1].copy_(arriving[-1])
        for place in range(len(arriving) - 2, -1, -1):
            torch.addcmul(arriving[place], kept[place + 1], later[place + 1], out=later[place])
        before = torch.cat([initial[:, None], memories[:, :-1]], dim=1)
        return total * before, total, total[:, 0] * keep[:, 0]


def doubling_scan(
    keep: Float[Tensor, "B T D"], new: Float[Tensor, "B T D"], initial: Float[Tensor, "B D"]
) -> Float[Tensor, "B T D"]:
    """All `m_t = keep_t * m_{t-1} + new_t` at once, by doubling steps (Hillis & Steele 1986).

    No division and no logarithm: products of numbers in (0, 1) may underflow to 0, which is exact
    enough, so it is stable for any gap. The result at t is computed from places up to t alone.
    """
    first = new[:, :1] + keep[:, :1] * initial[:, None]
    new = torch.cat([first, new[:, 1:]], dim=1)
    offset = 1
    while offset < new.shape[1]:
        shifted = torch.cat(
            [new[:, :offset], new[:, offset:] + keep[:, offset:] * new[:, :-offset]], dim=1
        )
        keep = torch.cat([keep[:, :offset], keep[:, offset:] * keep[:, :-offset]], dim=1)
        new, offset = shifted, 2 * offset
    return new


class MemoryLayer(nn.Module):
    """One recurrence: what it takes in, how fast it fades, and what it keeps."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.RMSNorm(width)
        self.gates = nn.Linear(width, 3 * width)  # input gate, decay gate, value
        # Half-lives from about a day to decades: softplus(rate) * log(1 + gap) spans them.
        self.rate = nn.Parameter(torch.linspace(-6.0, 0.0, width))

    def settle(self) -> None:
        """Begin with input gates spread from nearly shut to wide open (design 7.15)."""
        width = len(self.rate)
        self.gates.bias[:width] = torch.linspace(1.0, -4.0, width)

    @override
    def forward(
        self,
        bundles: Float[Tensor, "B T D"],
        gap: Float[Tensor, "B T"],
        initial: Float[Tensor, "B D"],
    ) -> Float[Tensor, "B T D"]:
        """The memory after each bundle; the recurrence runs in float32, also amid autocast."""
        return scan(*self.terms(bundles, gap), initial)

    def terms(
        self, bundles: Float[Tensor, "*n D"], gap: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, "*n D"], Float[Tensor, "*n D"]]:
        """The share of the memory that each bundle keeps and what it adds, in float32."""
        gates = self.gates(self.norm(bundles))
        with torch.autocast(gates.device.type, enabled=False):
            entering, decay, value = gates.float().chunk(3, dim=-1)
            entering = entering.sigmoid()
            slowness = nn.functional.softplus(self.rate) * 2 * decay.sigmoid()
            keep = (-slowness * gap.log1p()[..., None]).exp() * (1 - entering)
            return keep, entering * value.tanh()

    def faded(self, memory: Float[Tensor, "n D"], gap: Float[Tensor, " n"]) -> Float[Tensor, "n D"]:
        """The memory `gap` later, nothing having happened."""
        rate = nn.functional.softplus(self.rate)
        return memory * (-rate * gap.log1p()[:, None]).exp()


class MemoryBlock(nn.Module):
    """What the layer above sees of a bundle: the memory below and a gated perceptron, both residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.RMSNorm(width)
        self.gate = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.RMSNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(2 * width, width)
        self.dropout = Dropout(config.dropout)

    @override
    def forward(
        self, bundles: Float[Tensor, "*n D"], memory: Float[Tensor, "*n D"]
    ) -> Float[Tensor, "*n D"]:
        """The bundles, changed by what is remembered."""
        gate = nn.functional.silu(self.gate(self.norm(bundles)))
        bundles = bundles + self.dropout(self.out(memory * gate))
        left, right = self.mlp_in(self.mlp_norm(bundles)).chunk(2, dim=-1)
        changed: Tensor = bundles + self.dropout(self.mlp_out(nn.functional.silu(left) * right))
        return changed


class Memory(nn.Module):
    """The layers; its whole state is `[J, D]` floats per patient, however long the history."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryLayer(config) for _ in range(config.num_layers))
        self.blocks = nn.ModuleList(MemoryBlock(config) for _ in range(config.num_layers - 1))
        self.width = config.width

    def initial(self, num_timelines: int) -> Float[Tensor, "B J D"]:
        """The memory of a patient of whom nothing is known."""
        weight: Tensor = self.layers[0].rate  # type: ignore[assignment]
        shape = (num_timelines, len(self.layers), self.width)
        # Not `new_zeros`: a weight that is sharded over processes would make a sharded memory.
        return torch.zeros(shape, dtype=weight.dtype, device=weight.device)

    @override
    def forward(
        self,
        bundles: Float[Tensor, "B T D"],
        gap: Float[Tensor, "B T"],
        initial: Float[Tensor, "B J D"],
        chunk: int = CHUNK,
        is_there: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T J D"]:
        """The memory after every bundle; long histories are scanned `chunk` bundles at a time.

        Where `is_there` is False there is no bundle: a row has them at its end, what stands there in
        the result says nothing, and no work is done for it.
        """
        if is_there is None:
            is_there = torch.ones_like(gap, dtype=torch.bool)
        pieces, carried = [], initial
        for start in range(0, bundles.shape[1], chunk):
            place = slice(start, start + chunk)
            piece = self._chunk(bundles[:, place], gap[:, place], carried, is_there[:, place])
            pieces.append(piece)
            carried = piece[:, -1]
        if not pieces:
            return initial[:, None][:, :0]
        return torch.cat(pieces, dim=1)

    def _chunk(
        self,
        bundles: Float[Tensor, "B T D"],
        gap: Float[Tensor, "B T"],
        initial: Float[Tensor, "B J D"],
        is_there: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B T J D"]:
        bundles = bundles.to(initial.dtype)  # amid autocast: what is added to stays in float32
        place = torch.nonzero(is_there.flatten()).squeeze(1)
        flat, flat_gap = bundles.flatten(0, 1)[place], gap.flatten()[place]
        memories: list[Tensor] = []
        for number, (layer, begin) in enumerate(zip(self.layers, initial.unbind(1), strict=True)):
            if number:
                flat = self.blocks[number - 1](flat, memories[-1].flatten(0, 1)[place])
            keep, new = (
                term.new_zeros(is_there.numel(), self.width)
                .index_copy(0, place, term)
                .reshape(bundles.shape)
                for term in layer.terms(flat, flat_gap)  # type: ignore[operator]
            )
            memories.append(scan(keep, new, begin))
        return torch.stack(memories, dim=2)

    def step(
        self,
        bundle: Float[Tensor, "B D"],
        gap: Float[Tensor, " B"],
        memory: Float[Tensor, "B J D"],
    ) -> Float[Tensor, "B J D"]:
        """One more bundle, at a cost that does not know how many came before."""
        is_there = torch.ones_like(gap, dtype=torch.bool)
        return self._chunk(bundle[:, None], gap[:, None], memory, is_there[:, None])[:, 0]

    def faded(
        self, memory: Float[Tensor, "n J D"], gap: Float[Tensor, " n"]
    ) -> Float[Tensor, "n J D"]:
        """The memory `gap` after the last bundle."""
        faded = [layer.faded(memory[:, j], gap) for j, layer in enumerate(self.layers)]  # type: ignore[operator]
        return torch.stack(faded, dim=1)
