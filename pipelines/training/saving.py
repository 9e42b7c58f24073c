"""A run in a file, so that one that was cut off goes on: weights, optimiser, averages, generators.

Knows what changes while training, and how sharded weights are made whole and sharded again. A file
may be read by another number of processes, but the dropout of a run goes on exactly only with as many.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from clinical.errors import RejectedError
from clinical.worldmodel.jepa import Jepa
from pipelines.training.processes import Processes


class OtherRunError(RejectedError):
    """The saved state is of a run with other weights or another number of processes."""

    code = "training.other_run"


@dataclass(slots=True)
class Run:
    """All that changes while training. `generator` is alike on all ranks, `dropout` is not."""

    model: Jepa
    optimiser: torch.optim.AdamW
    generator: torch.Generator
    dropout: torch.Generator
    averaged: list[Tensor]
    num_averaged: int = 0
    step: int = 0


def plain(tensor: Tensor) -> Tensor:
    """The whole tensor; of a sharded one all ranks must ask together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The whole weights and buffers by name, as an ordinary model has them."""
    return {name: plain(value).detach() for name, value in model.state_dict().items()}


def save(run: Run, path: Path, processes: Processes | None) -> None:
    """Write the run; with several processes all of them must call, and the first one writes."""
    tensors = {f"model.{name}": value for name, value in plain_state(run.model).items()}
    weights = run.model.named_parameters()
    for (name, weight), mean in zip(weights, run.averaged, strict=True):
        tensors[f"average.{name}"] = plain(mean)
        for key, value in run.optimiser.state[weight].items():
            tensors[f"optimiser.{name}.{key}"] = plain(value)
    tensors["generator"] = run.generator.get_state()
    own = run.dropout.get_state()
    for rank, state in enumerate(processes.gathered(own) if processes else [own]):
        tensors[f"dropout.{rank}"] = state
    tensors["counts"] = torch.tensor([run.step, run.num_averaged])
    if processes is None or processes.is_first:
        _write({name: value.cpu().contiguous() for name, value in tensors.items()}, path)
    if processes is not None:
        processes.wait()


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file  # noqa: PLC0415 - a machine may have torch alone

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({name: value.clone() for name, value in tensors.items()}, partial)
    partial.replace(path)


def restore(run: Run, path: Path, processes: Processes | None) -> None:
    """Go on from the saved state.

    Raises:
        OtherRunError
    """
    from safetensors.torch import load_file  # noqa: PLC0415

    tensors = load_file(path)
    number = sum(name.startswith("dropout.") for name in tensors)
    if number != (1 if processes is None else processes.number):
        raise OtherRunError(f"the run was cut off on {number} processes, and goes on on as many")
    state = run.model.state_dict()
    saved = {n.removeprefix("model."): v for n, v in tensors.items() if n.startswith("model.")}
    if {n: v.shape for n, v in state.items()} != {n: v.shape for n, v in saved.items()}:
        raise OtherRunError("the run that was cut off trained another network")
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(_like(saved[name], value))
    for place, (name, weight) in enumerate(run.model.named_parameters()):
        run.averaged[place].copy_(_like(tensors[f"average.{name}"], run.averaged[place]))
        prefix = f"optimiser.{name}."
        run.optimiser.state[weight] = {
            key.removeprefix(prefix): value if key.endswith(".step") else _like(value, weight)
            for key, value in tensors.items()
            if key.startswith(prefix)
        }
    run.generator.set_state(tensors["generator"])
    rank = 0 if processes is None else processes.rank
    run.dropout.set_state(tensors[f"dropout.{rank}"])
    run.step, run.num_averaged = (int(n) for n in tensors["counts"])


def _like(value: Tensor, like: Tensor) -> Tensor:
    """On the device of `like`, and sharded as it is."""
    value = value.to(like.device)
    if isinstance(like, DTensor):
        return distribute_tensor(value, like.device_mesh, like.placements)
    return value
