"""`clinical backup` and `clinical restore`: everything a site is, into a folder and back."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.ending import told_in_words


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(backup)
    app.command()(restore)


_DATA_DIR = typer.Option(
    help="Folder of the embedded database and the keys; else by CLINICAL_DATA_DIR."
)


def backup(
    folder: Annotated[
        Path, typer.Argument(help="A new folder. It will hold patient data and keys.")
    ],
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Write database, keys and model into a folder, all of one moment; the site may run meanwhile."""
    from adapters.assembly.backing_up import back_up  # noqa: PLC0415
    from pipelines.commands.processes import shipped_checkpoint  # noqa: PLC0415

    with told_in_words():
        made = back_up(folder, shipped_checkpoint(), data_dir)
    rows = sum(made.stored.counts.values())
    typer.echo(f"{rows:,} rows, {made.num_bytes:,} bytes in {folder}")
    if made.stored.head is not None:
        typer.echo(f"audit head {made.stored.head.size} {made.stored.head.root.hex()}")
    for name in made.keys_elsewhere:
        typer.echo(f"not in it: {name}, which your settings hold")


def restore(
    folder: Annotated[Path, typer.Argument(help="What `clinical backup` wrote.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the database and keys that are there.")
    ] = False,
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Make this site what a backup says, and verify its audit log; status 1 if it is not sound."""
    from adapters.assembly import backing_up  # noqa: PLC0415

    with told_in_words():
        found = backing_up.restore(folder, typer.echo, overwrite=overwrite, data_dir=data_dir)
    log = found.log
    typer.echo(
        f"audit log: {'sound' if log.is_sound else 'NOT sound'}, {log.num_entries:,} entries"
    )
    typer.echo(f"audit head {log.head.size} {log.head.root.hex()}")
    if not found.is_complete:
        typer.echo("NOT complete: rows or triggers are not those that were backed up", err=True)
    for table in found.unguarded:
        typer.echo(f"NOT guarded: {table} no longer refuses change", err=True)
    if not found.has_ledger_key:
        typer.echo(
            "the ledger key here is another: set CLINICAL_LEDGER_KEY and its origin as before"
        )
    if found.checkpoint is not None:
        typer.echo(f"the model is in {found.checkpoint}: set CLINICAL_MODEL_CHECKPOINT to it")
    if not found.is_sound:
        raise typer.Exit(1)
    typer.echo("Restored: the log is the one that was backed up.")
