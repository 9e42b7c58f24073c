"""`clinical train`: a checkpoint from the shipped patients, or from FHIR files of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress as Bar

    from pipelines.training.report import Report
    from pipelines.training.train import Progress

_SAMPLE_NOTE = (
    "The 120 training patients of the shipped samples: FHIR R4 Bundles written by Synthea v2.4, "
    "copyright 2018 Boston Children's Hospital (SMART Health IT generated sample data), Apache "
    "License 2.0. **Synthetic: no real person, and no evidence about real ones.** Synthea is plumbing: "
    "its acute illnesses come at random, so how well they are foretold says nothing about a hospital."
)
_OWN_NOTE = "Patients in FHIR files given by whoever ran the training."


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(train)


def train(
    recipe: Annotated[str, typer.Option(help="Named choices of sizes and steps.")] = "cpu-small",
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and its model card.")] = Path(
        "var/checkpoints/new"
    ),
    patients: Annotated[
        list[Path] | None,
        typer.Option(help="FHIR Bundles, folders or NDJSON; none: the shipped patients."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    name: Annotated[str, typer.Option(help="Of the model.")] = "synthea-small",
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
    resume: Annotated[bool, typer.Option(help="Go on from where a run was cut off.")] = False,
) -> None:
    """Train, calibrate and describe a world model."""
    # torch and the readers take seconds to load: only when they are needed.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415
    from rich.progress import TextColumn, TimeRemainingColumn  # noqa: PLC0415

    from clinical.errors import ClinicalError  # noqa: PLC0415
    from pipelines.training.patients import sample_timelines, timelines_of  # noqa: PLC0415
    from pipelines.training.recipes import recipe as named  # noqa: PLC0415
    from pipelines.training.run import Assignment, run  # noqa: PLC0415

    console = Console()
    try:
        chosen = named(recipe, seed=seed, num_steps=steps)
        timelines, num_quarantined = timelines_of(patients) if patients else sample_timelines()
        console.print(
            f"{len(timelines)} patients, {sum(map(len, timelines))} events, "
            f"{num_quarantined} records quarantined"
        )
        assignment = Assignment(
            recipe=chosen,
            timelines=timelines,
            out=out,
            name=name,
            data_note=_OWN_NOTE if patients else _SAMPLE_NOTE,
            device=device,
            is_resumed=resume,
        )
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


class _Shown:
    """The bar, moved by each step."""

    def __init__(self, bar: "Bar") -> None:
        self._bar = bar
        self._task = bar.add_task("training", total=None, losses="")

    def __call__(self, progress: "Progress") -> None:
        names = ("latent", "spread", "values", "happened")
        losses = " ".join(f"{name} {progress.losses[name]:.3f}" for name in names)
        self._bar.update(
            self._task, completed=progress.step, total=progress.num_steps, losses=losses
        )


def _tell(say: "Callable[[str], None]", report: "Report") -> None:
    for figures in report.values:
        say(
            f"next values {figures.horizon}: error {figures.model:.3f} sd, last value "
            f"{figures.persistence:.3f}, skill {figures.skill:+.3f}"
        )
    for gate in report.failed_gates:
        say(f"[yellow]not healthy[/]: {gate.name} {gate.found:.3f}, healthy {gate.healthy}")
    say(f"training {report.seconds['train']:.0f} s, {report.num_parameters:,} parameters")
