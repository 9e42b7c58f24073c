"""The same numbers again on a GPU: what must be switched on before the first kernel runs.

Seen on an H200 with torch 2.11: without it two forecasts of the same patients differ in their last bits,
for sums by index are added in the order in which threads arrive; with it they are equal, and a training
step takes a fifth longer.
"""

import os

import torch


def compute_alike(device: str) -> None:
    """Let this process compute on `device` so that the same input gives the same bits.

    Whatever has no deterministic kernel then raises RuntimeError instead of answering. A CPU with a
    fixed number of threads needs nothing.
    """
    if not device.startswith("cuda"):
        return
    # cuBLAS reads it when it is first used (CUDA Toolkit, cuBLAS: "Results reproducibility").
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # noqa: TID251 - told, not read
    torch.use_deterministic_algorithms(True)
