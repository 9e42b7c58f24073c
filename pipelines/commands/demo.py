"""`clinical demo`: the whole system on this machine, with the sample patients in it."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.ending import told_in_words

if TYPE_CHECKING:
    from rich.console import Console

    from adapters.assembly.embedded import Site
    from pipelines.demo import Story, Summary


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(demo)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Send the patients, print the table and exit.")
    ] = False,
    icu: Annotated[
        bool, typer.Option("--icu", help="Real, de-identified stays in intensive care instead.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(help="Port of the page; else by CLINICAL_WEB_PORT.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for database, broker, keys and logs.")
    ] = None,
) -> None:
    """Start everything, send the sample patients through it, and serve the review page."""
    from rich.console import Console  # noqa: PLC0415

    from adapters import telemetry  # noqa: PLC0415
    from adapters.assembly.embedded import ToldToStop, running  # noqa: PLC0415
    from pipelines.commands.processes import commands  # noqa: PLC0415
    from pipelines.demo import OUTPATIENT, SITE  # noqa: PLC0415
    from pipelines.icu.demo import CHECKPOINT, INTENSIVE_CARE  # noqa: PLC0415

    telemetry.configure("demo", level=logging.WARNING)
    console = Console()
    story = INTENSIVE_CARE if icu else OUTPATIENT
    with told_in_words():
        try:
            with running(
                commands(),
                data_dir=data_dir,
                web_port=port,
                site=SITE,
                folder=story.name,
                checkpoint=CHECKPOINT if icu else None,
            ) as site:
                _run(site, console, story, once=once)
        except ToldToStop as stop:
            console.print("Stopped.")
            if once:
                sys.exit(128 + stop.number)


def _run(site: "Site", console: "Console", story: "Story", *, once: bool) -> None:
    from pipelines.demo import CLINICIAN, fill, open_account  # noqa: PLC0415

    password = open_account(site)
    site.wait_until_ready("web")
    console.print(f"Page      {site.web_url}", highlight=False)
    console.print(f"Sign in   {CLINICIAN}   password   {password}", highlight=False)
    site.wait_until_ready("worker", "model")
    with console.status("Sending the sample patients …") as status:
        summary = fill(site, status.update, story)
    console.print(_table(summary))
    summary.require_complete()
    if not once:
        console.print("Stop with Ctrl-C; start again to go on where you were.")
        site.stand_by()


def _table(summary: "Summary") -> "object":
    from rich.table import Table  # noqa: PLC0415

    # No frame: the root of the audit log must fit on a line of 80 characters.
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for name, value in summary.rows():
        table.add_row(name, value)
    return table
