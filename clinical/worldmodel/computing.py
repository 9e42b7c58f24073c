"""With what this process computes: the libraries, the hardware, and how torch was told to use them.

Knows torch and what is installed. Does not know any model.
"""

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version

import torch

_COMPUTING = ("numpy", "safetensors", "torch")


@cache
def libraries() -> str:
    """Python and the libraries that take part in computing, with their versions."""
    return ", ".join([f"python {platform.python_version()}", *map(_named, _COMPUTING)])


@cache
def environment_digest() -> str:
    """Hex SHA-256 over name and version of everything that is installed."""
    installed = {f"{d.metadata['Name'].lower()}=={d.version}" for d in distributions()}
    return hashlib.sha256("\n".join(sorted(installed)).encode()).hexdigest()


@cache
def hardware(device: str) -> str:
    """Which GPU, or which instructions of the CPU torch's kernels use."""
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def _named(library: str) -> str:
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return f"{library} (absent)"
