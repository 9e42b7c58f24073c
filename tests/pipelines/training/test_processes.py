"""Training by several processes: the same loss and gradients as by one, and runs that go on exactly."""

import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from clinical.worldmodel import checkpoint
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.cli import app
from pipelines.samples import training_bundles
from pipelines.training.dataset import Case
from pipelines.training.lessons import CaseLessons, Share, TooManyProcessesError
from pipelines.training.processes import Parallel
from pipelines.training.recipes import Recipe
from pipelines.training.saving import OtherRunError
from pipelines.training.train import train

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one and two processes of `torchrun` wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    running = [torchrun(number, "tests.pipelines.training.ranks", str(folder)) for number in (1, 2)]
    for process in running:
        finished(process)
    return folder


def torchrun(number: int, module: str, *words: str) -> subprocess.Popen[str]:
    run = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(number))
    return subprocess.Popen(
        [sys.executable, *run, "-m", module, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-4000:]
    return output


@pytest.mark.parametrize("parallel", list(Parallel))
def test_two_processes_have_the_loss_and_the_gradients_of_one(folder: Path, parallel: Parallel):
    one = load_file(folder / f"1.{parallel}.0.gradients")
    halves = [load_file(folder / f"2.{parallel}.{rank}.gradients") for rank in (0, 1)]
    assert sum(name.startswith("gradient.") for name in one) > 50
    gradients = torch.cat([v.flatten() for k, v in one.items() if k.startswith("gradient.")])
    scale = max(1.0, float(gradients.norm()))  # sums that should vanish are only as exact as it
    for half in halves:
        for name, value in one.items():
            if name != "patients":
                assert torch.allclose(half[name], value, atol=1e-5 * scale, rtol=1e-5), name


def test_no_patient_is_on_two_processes(folder: Path):
    whole = load_file(folder / "1.ddp.0.gradients")["patients"]
    halves = [load_file(folder / f"2.ddp.{rank}.gradients")["patients"] for rank in (0, 1)]
    assert len(whole) == 9
    assert {len(half) for half in halves} == {4, 5}
    assert sorted(torch.cat(halves).tolist()) == sorted(whole.tolist())


@pytest.mark.parametrize("parallel", list(Parallel))
@pytest.mark.parametrize("number", [1, 2])
def test_a_run_of_processes_that_was_cut_off_ends_at_the_same_weights(
    folder: Path, parallel: Parallel, number: int
):
    learnt = load_file(folder / f"{number}.{parallel}.learnt")
    resumed = load_file(folder / f"{number}.{parallel}.resumed")
    assert all(torch.equal(resumed[name], value) for name, value in learnt.items())


def test_sharded_and_whole_weights_learn_the_same(folder: Path):
    whole, sharded = (load_file(folder / f"2.{parallel}.learnt") for parallel in Parallel)
    # Adam moves a weight whose gradient is only rounding error as far as any other.
    apart = sum(float((sharded[name] - value).square().sum()) for name, value in whole.items())
    assert apart < 1e-6 * sum(float(value.square().sum()) for value in whole.values())


def test_a_checkpoint_of_a_sharded_run_loads_as_any_other(folder: Path):
    inference = checkpoint.load(folder / "2.fsdp.checkpoint")
    learnt = load_file(folder / "2.fsdp.learnt")
    state = inference.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in learnt.items())


def test_a_run_goes_on_on_as_many_processes_as_it_was_begun(
    folder: Path, tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    lessons = CaseLessons(tiny, cases, tensorizer)
    with pytest.raises(OtherRunError, match="2 processes"):
        train(tiny, lessons, tensorizer.vocabulary, state_file=folder / "2.ddp.state")


def test_a_lesson_needs_a_patient_for_every_process(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    few = replace(tiny, patients_per_step=3)
    with pytest.raises(TooManyProcessesError):
        CaseLessons(few, cases, tensorizer, Share(0, 4))


def test_the_command_notices_torchrun_and_one_process_speaks(tmp_path: Path):
    patients, out = tmp_path / "patients", tmp_path / "model"
    patients.mkdir()
    for place, (_, body) in enumerate(islice(training_bundles(), 24)):
        (patients / f"{place}.json").write_bytes(body)
    words = ["train", "--patients", str(patients), "--steps", "2", "--out", str(out)]
    words += ["--name", "ours", "--parallel", "fsdp", "--allow-unhealthy"]
    said = finished(torchrun(2, "pipelines", *words))
    assert said.count("24 patients") == 1
    assert checkpoint.load(out).fingerprint.name == "ours"


def test_another_way_to_lay_weights_is_refused(tmp_path: Path):
    words = ["train", "--parallel", "pipeline", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "training.unknown_parallel" in result.output
