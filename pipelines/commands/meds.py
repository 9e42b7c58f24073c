"""`clinical meds`: timelines as a MEDS data set, for the tools of researchers."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.ending import told_in_words


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="Data sets in the form of MEDS.")
    group.command("export")(export)
    app.add_typer(group, name="meds")


def export(
    folder: Annotated[Path, typer.Argument(help="Where the data set is to lie; must not exist.")],
    by: Annotated[str, typer.Option(help="Who you are: it enters the audit log.")],
    site: Annotated[str, typer.Option(help="Of this site alone; else of all.")] = "",
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
            help="What was known by this moment (UTC); else what stands now.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the embedded database; else by CLINICAL_DATA_DIR."),
    ] = None,
) -> None:
    """Write what stands of every patient as a MEDS data set: pseudonyms, but dates and words as they are."""
    from adapters.assembly.exporting import exporting  # noqa: PLC0415
    from clinical.services.exporting import Extent  # noqa: PLC0415

    moment = as_of.replace(tzinfo=UTC) if as_of is not None else None
    with told_in_words(), exporting(folder, data_dir) as (service, data_set):
        done = service.export(Extent(site=site, as_of=moment), data_set, by)
    typer.echo(f"{done.num_subjects:,} subjects, {done.num_rows:,} rows, {done.num_files} files.")
    typer.echo(f"SHA-256 over the files and their digests: {done.digest}")
    typer.echo("It is pseudonymous, not anonymous: treat it as patient data.")
