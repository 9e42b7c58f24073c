"""The processes: each by itself, all of them together on one machine, and the schema they need."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.ending import told_in_words

if TYPE_CHECKING:
    from adapters.assembly.embedded import Commands

_PORT = typer.Option(help="Port of the page; else by CLINICAL_WEB_PORT.")
_DATA_DIR = typer.Option(help="Folder for database, broker, keys and logs.")


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    for command in (up, web, worker, model, mllp, migrate):
        app.command()(command)


def up(
    port: Annotated[int | None, _PORT] = None,
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Start web, worker and model on this machine, with an embedded PostgreSQL unless one is named."""
    from adapters import telemetry  # noqa: PLC0415
    from adapters.assembly.embedded import ToldToStop, running  # noqa: PLC0415

    telemetry.configure("up", level=logging.WARNING)
    with told_in_words():
        try:
            with running(commands(), data_dir=data_dir, web_port=port) as site:
                site.wait_until_ready("web", "worker", "model")
                typer.echo(f"Serving on {site.web_url}; logs in {site.settings.data_dir / 'logs'}.")
                typer.echo("Add a clinician with `clinical clinician add`; stop with Ctrl-C.")
                site.stand_by()
        except ToldToStop:
            typer.echo("Stopped.")


def web() -> None:
    """Serve the review page, its API and the webhooks."""
    from adapters.assembly.web import run  # noqa: PLC0415

    with told_in_words():
        run()


def worker(
    concurrency: Annotated[
        int | None, typer.Option(help="Child processes; else by CLINICAL_WORKER_CONCURRENCY.")
    ] = None,
    ready_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Do the work owed: understand deliveries, ask the model, write back."""
    from adapters.assembly import worker as assembly  # noqa: PLC0415
    from pipelines.worker import run  # noqa: PLC0415

    with told_in_words(), assembly.process(concurrency=concurrency) as process:
        sys.exit(run(process, say_ready=_write_to(ready_fd)))


def model() -> None:
    """Serve the world model; the one process that loads torch."""
    from adapters.assembly.model import run  # noqa: PLC0415

    with told_in_words():
        run(shipped_checkpoint())


def mllp() -> None:
    """Take in HL7 v2 messages by MLLP: stored, then acknowledged."""
    from adapters.assembly.mllp import run  # noqa: PLC0415

    with told_in_words():
        run()


def migrate() -> None:
    """Bring the database to the newest schema."""
    from adapters.assembly.database import migrate_site  # noqa: PLC0415

    with told_in_words():
        typer.echo(f"The schema is at revision {migrate_site()}.")


def commands() -> "Commands":
    """How this program starts its own processes."""
    from adapters.assembly.embedded import Commands  # noqa: PLC0415

    # -P: a folder `adapters` where the user happens to stand must not shadow ours.
    program = (sys.executable, "-P", "-m", "pipelines")
    return Commands(web=(*program, "web"), worker=(*program, "worker"), model=(*program, "model"))


def shipped_checkpoint() -> Path:
    """The weights that come with the project."""
    from pipelines.samples import FOLDER  # noqa: PLC0415

    return FOLDER / "checkpoints" / "synthea-small"


def _write_to(ready_fd: int | None) -> Callable[[], None]:
    def say_ready() -> None:
        if ready_fd is not None:
            os.write(ready_fd, b"\n")
            os.close(ready_fd)

    return say_ready
