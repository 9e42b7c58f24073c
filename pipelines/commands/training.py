"""`clinical train`: a checkpoint from the shipped patients, or from FHIR files of one's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.progress import Progress as Bar

    from clinical.timeline.timeline import Timeline
    from pipelines.training.about import About
    from pipelines.training.report import Report
    from pipelines.training.setting import Setting
    from pipelines.training.train import Progress


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(train)


def train(  # noqa: PLR0913, PLR0917 - each is an option of the command
    recipe: Annotated[str, typer.Option(help="Named choices of sizes and steps.")] = "cpu-small",
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and its model card.")] = Path(
        "var/checkpoints/new"
    ),
    patients: Annotated[
        list[Path] | None,
        typer.Option(help="FHIR Bundles, folders or NDJSON; none: the shipped patients."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with set-a of the 2012 challenge, for the recipe icu-small."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the model; else synthea-small, or icu-open with --data.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
    parallel: Annotated[
        str, typer.Option(help="Under torchrun: ddp, or fsdp for weights that one GPU cannot hold.")
    ] = "ddp",
    resume: Annotated[bool, typer.Option(help="Go on from where a run was cut off.")] = False,
    allow_unhealthy: Annotated[
        bool,
        typer.Option(
            "--allow-unhealthy",
            help="Write the checkpoint, marked, even where a decisive sign of health is missing.",
        ),
    ] = False,
) -> None:
    """Train, calibrate and describe a world model."""
    # torch and the readers take seconds to load: only when they are needed.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415
    from rich.progress import TextColumn, TimeRemainingColumn  # noqa: PLC0415

    from clinical.errors import ClinicalError  # noqa: PLC0415
    from pipelines.training.processes import together  # noqa: PLC0415
    from pipelines.training.recipes import recipe as named  # noqa: PLC0415
    from pipelines.training.run import Assignment, accompany, run  # noqa: PLC0415

    console = Console()
    try:
        with together(device, parallel) as processes:
            console.quiet = processes is not None and not processes.is_first
            chosen = named(recipe, seed=seed, num_steps=steps)
            source = _source(patients, data)
            console.print(
                f"{len(source.timelines)} patients, {sum(map(len, source.timelines))} events, "
                f"{source.num_refused} records refused"
            )
            assignment = Assignment(
                recipe=chosen,
                timelines=source.timelines,
                out=out,
                name=name or source.name,
                about=source.about,
                setting=source.setting,
                device=device,
                is_resumed=resume,
                processes=processes,
                may_be_unhealthy=allow_unhealthy,
            )
            if processes is not None and not processes.is_first:
                accompany(assignment)
                return
            columns = (
                *Bar.get_default_columns()[:3],
                TimeRemainingColumn(),
                TextColumn("{task.fields[losses]}"),
            )
            with Bar(*columns, console=console) as bar:
                digest, report = run(assignment, say=console.print, watch=_Shown(bar))
    except ClinicalError as error:
        console.print(f"[red]{error.code}[/]: {error}")
        raise typer.Exit(1) from error
    _tell(console.print, report)
    console.print(f"checkpoint {out} · manifest {digest}")


@dataclass(frozen=True, slots=True)
class _Source:
    """Whom to train on."""

    name: str  # of the model, unless another is given
    timelines: "Sequence[Timeline]"
    num_refused: int
    setting: "Setting"
    about: "About"


def _source(patients: list[Path] | None, data: Path | None) -> _Source:
    from pipelines.training import about  # noqa: PLC0415
    from pipelines.training.patients import sample_timelines, timelines_of  # noqa: PLC0415
    from pipelines.training.setting import OUTPATIENT  # noqa: PLC0415

    if data is not None:
        from pipelines.icu.cohort import cohort  # noqa: PLC0415

        return _Source("icu-open", *cohort(data), about.INTENSIVE_CARE)
    if patients:
        return _Source("synthea-small", *timelines_of(patients), OUTPATIENT, about.OWN)
    return _Source("synthea-small", *sample_timelines(), OUTPATIENT, about.SAMPLES)


class _Shown:
    """The bar, moved by each step."""

    def __init__(self, bar: "Bar") -> None:
        self._bar = bar
        self._task = bar.add_task("training", total=None, losses="")

    def __call__(self, progress: "Progress") -> None:
        names = ("latent", "spread", "values", "happened", "outcome")
        known = [name for name in names if name in progress.losses]
        losses = " ".join(f"{name} {progress.losses[name]:.3f}" for name in known)
        self._bar.update(
            self._task, completed=progress.step, total=progress.num_steps, losses=losses
        )


def _tell(say: "Callable[[str], None]", report: "Report") -> None:
    for figures in report.values:
        say(
            f"next values {figures.horizon}: error {figures.model:.3f} sd, last value "
            f"{figures.persistence:.3f}, skill {figures.skill:+.3f}"
        )
    for told in report.outcomes:
        say(
            f"{told.name} at {told.hour:g} h: AUROC {told.auroc:.3f} "
            f"[{told.auroc_95[0]:.3f}, {told.auroc_95[1]:.3f}], slope {told.slope:.2f}"
        )
    for gate in report.failed_gates:
        star = "decisive: " if gate.is_starred else ""
        say(f"[yellow]not healthy[/]: {star}{gate.name} {gate.found:.3f}, healthy {gate.healthy}")
    say(f"training {report.seconds['train']:.0f} s, {report.num_parameters:,} parameters")
