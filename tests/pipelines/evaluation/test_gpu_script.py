"""The GPU script, dry on a CPU, where Python finds nothing but torch, numpy and the carried wheels."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.evaluation.benchmark_file import load, record, render
from pipelines.evaluation.gpu.patients import made_up

ROOT = Path(__file__).parents[3]
# The machine has torch and numpy; these two come along as wheels.
CARRIED = ("jaxtyping", "wadler_lindig")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A path with torch, numpy, what torch itself needs, and the wheels; nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    for name in (*_needed_by("torch"), *_needed_by("numpy"), *CARRIED):
        for part in _parts(name):
            link = folder / part.name
            if not link.exists():
                link.symlink_to(part)
    return f"{folder}:{ROOT}"


def _needed_by(name: str) -> list[str]:
    """The distribution and all that it requires, extras aside."""
    found, waiting = [], [name]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
        waiting += [_name(word) for word in required if "extra ==" not in word]
    return found


def _name(requirement: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else " " for c in requirement).split()[0]


def _parts(name: str) -> set[Path]:
    """What the distribution put at the top of site-packages."""
    files = importlib.metadata.files(name) or []
    tops = {Path(str(file)).parts[0] for file in files if not str(file).startswith("..")}
    return {Path(str(importlib.metadata.distribution(name).locate_file(top))) for top in tops}


def run(path: str, *words: str) -> subprocess.CompletedProcess[str]:
    # -S: no site-packages. PYTHONPATH is the whole world.
    return subprocess.run(
        [sys.executable, "-S", *words],
        cwd="/",
        env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_machine_of_this_test_really_has_little(bare: str):
    for name in ("safetensors", "pydantic", "psutil", "scipy"):
        assert "ModuleNotFoundError" in run(bare, "-c", f"import {name}").stderr


def test_the_script_measures_everything_in_one_command(bare: str, tmp_path: Path):
    out = tmp_path / "gpu.json"
    words = ["--device", "cpu", "--recipe", "cpu-small", "--seconds", "1", "--patients", "20"]
    words += ["--bundles", "20", "--repetitions", "5", "--sizes", "1", "8"]
    done = run(bare, "-m", "pipelines.evaluation.gpu", *words, "--out", str(out))
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {row["id"]: row for row in json.loads(out.read_text())}
    assert set(rows) == {
        "gpu.train_tokens_s",
        "gpu.train_peak_share",
        "gpu.forecast_s",
        "gpu.p99_batch1_ms",
        "gpu.apart_fp32",
        "gpu.apart_bf16",
        "gpu.same_bits",
    }
    assert rows["gpu.same_bits"]["value"] == 1.0
    assert rows["gpu.train_tokens_s"]["value"] > 0
    assert rows["gpu.train_peak_share"]["value"] > 0  # of a bfloat16 product, slow on this CPU
    assert rows["gpu.apart_fp32"]["value"] < 1e-5  # here it is the same device
    assert 1e-5 < rows["gpu.apart_bf16"]["value"] < 0.05
    assert rows["gpu.train_tokens_s"]["machine"]["device"] == "cpu"
    record(out, folder=tmp_path)
    assert {row.id for row in load(tmp_path)} == set(rows)
    assert "On a GPU" in render(load(tmp_path))


def test_made_up_patients_are_seeded_and_as_long_as_asked():
    one, again, other = made_up(1, 30), made_up(1, 30), made_up(2, 30)
    assert one.digest == again.digest
    assert one.digest != other.digest
    assert len({known.at for known in one.standing}) == 30
    assert len(one) >= 30
