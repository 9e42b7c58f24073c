"""One step's loss as a module, so that DDP and FSDP2 can wrap it; autocast and compilation, where asked.

Knows how the network is divided into blocks. Does not know optimisers, lessons or files.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override

from clinical.errors import RejectedError
from clinical.worldmodel.grounding import Lesson
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.learning import training_loss
from clinical.worldmodel.ranks import ALONE, Ranks
from pipelines.training.processes import Parallel, Processes
from pipelines.training.recipes import Recipe


class UnshardableModelError(RejectedError):
    """The model has a part that cannot be sharded: a slow copy of itself."""

    code = "training.unshardable_model"


class Step(nn.Module):
    """The network and its loss: `forward` gives the parts of one lesson's loss."""

    actions: Tensor

    def __init__(self, model: Jepa, recipe: Recipe, actions: Tensor, ranks: Ranks = ALONE) -> None:
        super().__init__()
        self.model = model
        self._recipe, self._ranks = recipe, ranks
        self.register_buffer("actions", actions, persistent=False)

    @override
    def forward(self, lesson: Lesson, generator: torch.Generator) -> dict[str, Tensor]:
        with autocast(self._recipe, lesson.day.device):
            return training_loss(
                self.model,
                lesson,
                self.actions,
                config=self._recipe.loss,
                corruption=self._recipe.corruption,
                generator=generator,
                ranks=self._ranks,
            )


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where the recipe has it on this kind of device; SIGReg and the scan keep float32."""
    is_on = device.type in recipe.bfloat16_on
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_on)


def blocks(model: Jepa) -> list[nn.Module]:
    """The parts that hold most weights, each used by itself."""
    return [*model.memory.layers, *model.memory.blocks, *model.predictor.layers]


def wrapped(step: Step, processes: Processes | None) -> nn.Module:
    """The step, its gradients averaged over the processes."""
    if processes is None:
        return step
    if processes.parallel is Parallel.FSDP:
        return _sharded(step, processes)
    devices = None if processes.device == "cpu" else [torch.device(processes.device)]
    return DistributedDataParallel(step, device_ids=devices, broadcast_buffers=False)


def _sharded(step: Step, processes: Processes) -> nn.Module:
    """Weights in float32 on all ranks together; autocast, not FSDP, makes bfloat16 of them."""
    if step.model.teacher is not None:
        raise UnshardableModelError("a model with a slow copy of itself is trained by DDP")
    mesh = processes.mesh()
    for block in blocks(step.model):
        fully_shard(block, mesh=mesh)
    for layer in step.model.memory.layers:
        # The memory calls these two instead of the layer itself.
        register_fsdp_forward_method(layer, "terms")
        register_fsdp_forward_method(layer, "faded")
    fully_shard(step, mesh=mesh)
    return step


def compile_blocks(model: Jepa) -> None:
    """Compile what is dense, for lengths that change from step to step."""
    for block in (*model.memory.blocks, *model.predictor.layers):
        block.compile(dynamic=True)
