"""The processes that `torchrun` started to train one model together.

Knows ranks, devices and how the ranks' numbers are brought together. Does not know what is trained.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.nn import functional as collective

from clinical.errors import RejectedError
from clinical.worldmodel.ranks import Ranks


class Parallel(StrEnum):
    """How the weights lie on the ranks."""

    DDP = "ddp"
    """Every rank holds all of them."""
    FSDP = "fsdp"
    """Every rank holds a share of each block's, and gathers them when the block runs (FSDP2)."""


class UnknownParallelError(RejectedError):
    """There is no such way to lay weights on processes."""

    code = "training.unknown_parallel"


@dataclass(frozen=True, slots=True)
class Processes:
    """This rank of `number`, and the device that it computes on."""

    rank: int
    number: int
    device: str
    parallel: Parallel

    @property
    def is_first(self) -> bool:
        """Whether this rank speaks and writes files for all of them."""
        return self.rank == 0

    @property
    def ranks(self) -> Ranks:
        """As the objective sees them."""
        return Ranks(self._mean, self.number)

    def _mean(self, values: Tensor) -> Tensor:
        summed = cast("Tensor", collective.all_reduce(values))  # type: ignore[no-untyped-call]
        return summed / self.number

    def mesh(self) -> DeviceMesh:
        """All ranks in one line."""
        return init_device_mesh(torch.device(self.device).type, (self.number,))

    def gathered(self, state: Tensor) -> list[Tensor]:
        """The bytes that each rank holds, in the order of the ranks; all hold as many."""
        own = state.to(self.device)
        found = [torch.empty_like(own) for _ in range(self.number)]
        dist.all_gather(found, own)
        return [part.cpu() for part in found]

    def wait(self) -> None:
        """Until all ranks are here."""
        dist.barrier()


def are_started() -> bool:
    """Whether `torchrun` started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


@contextmanager
def together(device: str, parallel: str) -> Iterator[Processes | None]:
    """The processes of `torchrun` for as long as it takes; None where this one is alone.

    Raises:
        UnknownParallelError
    """
    if parallel not in set(Parallel):
        raise UnknownParallelError(f"weights lie as one of {', '.join(Parallel)}")
    if not are_started():
        yield None
        return
    processes = join(device, Parallel(parallel))
    try:
        yield processes
    finally:
        leave()


def join(device: str, parallel: Parallel) -> Processes:
    """Meet the other ranks: NCCL between GPUs (one a rank), gloo between CPUs."""
    if device == "cuda":
        device = f"cuda:{dist.get_node_local_rank(fallback_rank=0)}"
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if device == "cpu" else "nccl")
    return Processes(dist.get_rank(), dist.get_world_size(), device, parallel)


def leave() -> None:
    """Part from the other ranks."""
    dist.destroy_process_group()
