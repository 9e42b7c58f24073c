"""`clinical icu-extract`: the stays that `clinical demo --icu` shows, from the table they come from."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.ending import told_in_words


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("icu-extract")(icu_extract)


def icu_extract(
    data: Annotated[
        Path, typer.Argument(help="The MIMIC-IV demo as MEDS: one Parquet file.", exists=True)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the archive and its counts.")] = Path(
        "var/icu"
    ),
) -> None:
    """Write a small extract of the MIMIC-IV demo as FHIR Bundles; which items is `mimic_items.csv`."""
    from pipelines.icu.extract import extract  # noqa: PLC0415

    with told_in_words():
        made = extract(data, out)
        typer.echo(f"{made.num_stays} stays, {made.num_died} of them died in hospital: {out}")
        typer.echo(f"{made.written.kept.total()} facts kept")
        for reason, count in made.written.left_out.most_common():
            typer.echo(f"{count} rows left out, {reason}")
