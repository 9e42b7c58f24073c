"""What each process of `torchrun` does in `test_processes.py`: learn, and write down what came out.

Run as `python -m tests.pipelines.training.ranks FOLDER`, alone or under `torch.distributed.run`.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from clinical.worldmodel.calibrated import Calibration
from clinical.worldmodel.checkpoint import Checkpoint
from clinical.worldmodel.checkpoint import save as save_checkpoint
from clinical.worldmodel.fitting import FitConfig, fit
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training import train as training
from pipelines.training.dataset import Case, case_of
from pipelines.training.lessons import CaseLessons, Share
from pipelines.training.processes import Parallel, Processes, are_started, join, leave
from pipelines.training.recipes import Recipe, recipe
from pipelines.training.saving import plain
from tests.clinical.worldmodel.conftest import SMALL, convert
from tests.clinical.worldmodel.patients import made_up

STEPS, CUT = 6, 4
VOCABULARY = FitConfig(min_own_bins=400, min_forecast_values=50, num_buckets=SMALL.num_buckets)
QUIET = replace(
    recipe("cpu-small", seed=3, num_steps=STEPS),
    model=replace(SMALL, dropout=0.0),
    patients_per_step=9,
    questions_per_patient=3,
    warm_up_steps=2,
)
NOISY = replace(QUIET, model=replace(SMALL, dropout=0.2))


class PowerCutError(Exception):
    """Ends a run amid its steps."""


def world() -> tuple[list[Case], Tensorizer]:
    timelines = [made_up(number) for number in range(16)]
    tensorizer = Tensorizer(fit(timelines, convert, config=VOCABULARY))
    return [c for t in timelines if (c := case_of(t, tensorizer)) is not None], tensorizer


def lessons(how: Recipe, processes: Processes) -> CaseLessons:
    cases, tensorizer = world()
    return CaseLessons(how, cases, tensorizer, Share(processes.rank, processes.number))


def loss_and_gradients(processes: Processes) -> dict[str, torch.Tensor]:
    source = lessons(QUIET, processes)
    vocabulary = world()[1].vocabulary
    run, step = training._begin(QUIET, vocabulary, "cpu", processes)
    run.model.train()
    lesson = source(run.generator)
    parts = step(lesson, run.generator)
    parts["total"].backward()
    found = {
        f"gradient.{name}": plain(weight.grad)
        for name, weight in run.model.named_parameters()
        if weight.grad is not None
    }
    found |= {f"loss.{k}": processes.ranks.mean(v.detach()) for k, v in parts.items()}
    found["patients"] = lesson.future.birth_day.clone()
    found["running_mean"] = plain(run.model.projector.norm.running_mean)
    return found


def learnt(how: Recipe, processes: Processes, state_file: Path | None, cut: int | None) -> Jepa:
    def watch(progress: training.Progress) -> None:
        if progress.step == cut:
            raise PowerCutError

    return training.train(
        how,
        lessons(how, processes),
        world()[1].vocabulary,
        watch=watch,
        state_file=state_file,
        processes=processes,
    )


def cut_off_and_resumed(processes: Processes, folder: Path) -> Jepa:
    state_file = folder / f"{processes.number}.{processes.parallel}.state"
    try:
        learnt(NOISY, processes, state_file, CUT)
    except PowerCutError:
        pass
    else:
        raise AssertionError("the run was not cut off")
    return learnt(NOISY, processes, state_file, None)


def main(folder: Path) -> None:
    assert are_started()
    training._SAVE_EVERY = 3  # type: ignore[misc]
    first = join("cpu", Parallel.DDP)
    name = f"{first.number}"
    for parallel in Parallel:
        processes = replace(first, parallel=parallel)
        found = loss_and_gradients(processes)
        save_file(
            {k: v.contiguous() for k, v in found.items()},
            folder / f"{name}.{parallel}.{processes.rank}.gradients",
        )
        model = learnt(NOISY, processes, None, None)
        again = cut_off_and_resumed(processes, folder)
        if processes.is_first:
            save_file(model.state_dict(), folder / f"{name}.{parallel}.learnt")
            save_file(again.state_dict(), folder / f"{name}.{parallel}.resumed")
            _write_checkpoint(model, folder / f"{name}.{parallel}.checkpoint")
    leave()


def _write_checkpoint(model: Jepa, folder: Path) -> None:
    save_checkpoint(
        folder,
        Checkpoint(
            name="ranks",
            version="1",
            model=model,
            vocabulary=world()[1].vocabulary,
            calibration=Calibration(probabilities={}, quantities={}, familiarity=None),
            limits=QUIET.limits,
            data_digest="0" * 64,
            training={},
        ),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
