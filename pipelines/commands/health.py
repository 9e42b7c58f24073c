"""`clinical health`: whether a process can do its work, for probes and for people."""

from enum import StrEnum
from typing import Annotated

import typer

from pipelines.commands.ending import told_in_words


class Process(StrEnum):
    """Which process is asked about."""

    WEB = "web"
    WORKER = "worker"
    MODEL = "model"


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(health)


def health(
    process: Annotated[Process, typer.Argument(help="Which process is asked about.")],
) -> None:
    """Say how a process and what it needs are; status 1 if anything of it is not well."""
    from adapters.assembly import probes  # noqa: PLC0415

    ask = {
        Process.WEB: probes.of_web,
        Process.WORKER: probes.of_worker,
        Process.MODEL: probes.of_model,
    }
    with told_in_words():
        parts = ask[process]()
    for name, part in parts.items():
        typer.echo(f"{name}: {'well' if part.is_well else 'NOT well'}, {part.detail}")
    if not all(part.is_well for part in parts.values()):
        raise typer.Exit(1)
