"""Deterministic kernels are asked for on a GPU, and only there."""

import os
from collections.abc import Iterator

import pytest
import torch

from adapters.determinism import compute_alike


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    torch.use_deterministic_algorithms(False)


def test_a_cpu_needs_nothing() -> None:
    compute_alike("cpu")
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ  # noqa: TID251 - what cuBLAS will read


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_on_a_gpu_what_has_no_deterministic_kernel_raises(device: str) -> None:
    compute_alike(device)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"  # noqa: TID251


def test_what_a_site_chose_for_cublas_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    compute_alike("cuda")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"  # noqa: TID251
