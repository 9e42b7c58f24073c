"""`clinical quarantine`: what was set aside, and on its way again. Shows no content of any record."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from pipelines.commands.ending import told_in_words

_DATA_DIR = typer.Option(help="Folder of the embedded database; else by CLINICAL_DATA_DIR.")
_LIMIT = typer.Option(min=1, help="At most so many of each.")


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="What was set aside, and why.", no_args_is_help=True)
    group.command("list")(list_all)
    group.command("show")(show)
    group.command("redrive")(redrive)
    app.add_typer(group, name="quarantine")


def list_all(
    limit: Annotated[int, _LIMIT] = 50, data_dir: Annotated[Path | None, _DATA_DIR] = None
) -> None:
    """Messages given up, records not understood, what the broker would not deliver; newest first."""
    from rich.console import Console  # noqa: PLC0415

    from adapters.assembly import stored  # noqa: PLC0415
    from pipelines.commands.tables import table  # noqa: PLC0415

    with told_in_words(), stored.quarantine(data_dir) as service:
        given_up, aside = service.given_up(limit), service.set_aside(limit)
        buried = service.dead_letters(limit)
    messages = table("message", "work", "attempts", "why", "given up", title="Messages")
    for message in given_up:
        when = message.given_up_at.isoformat(timespec="seconds")
        messages.add_row(
            str(message.message_id), message.kind, str(message.attempts), message.error_code, when
        )
    records = table("delivery", "site", "where", "kind", "why", "since", title="Records")
    for each in aside:
        when = each.at.isoformat(timespec="seconds")
        records.add_row(
            str(each.delivery_id),
            each.site,
            each.position,
            each.record_type,
            each.reason_code,
            when,
        )
    letters = table("message", "why", "times", "first", "last", "bytes", title="Dead letters")
    for dead in buried:
        first, last = (at.isoformat(timespec="seconds") for at in (dead.first_at, dead.last_at))
        name = str(dead.letter.message_id or f"sha256:{dead.letter.digest}")
        size = str(dead.letter.num_bytes)
        letters.add_row(name, dead.letter.reason, str(dead.count), first, last, size)
    console = Console()
    console.print(messages, records, letters)


def show(
    delivery_id: Annotated[UUID, typer.Argument(help="As `list` says it.")],
    limit: Annotated[int, _LIMIT] = 1000,
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """All that was set aside of one delivery, each with its reason in words."""
    from adapters.assembly import stored  # noqa: PLC0415

    with told_in_words(), stored.quarantine(data_dir) as service:
        for each in service.set_aside(limit, delivery_id):
            typer.echo(f"{each.position} {each.record_type}: {each.reason_code}: {each.detail}")


def redrive(
    message_ids: Annotated[list[UUID], typer.Argument(help="As `list` says them.")],
    by: Annotated[str, typer.Option(help="Who you are: it enters the audit log.")],
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Send messages that were given up on their way again, with all attempts."""
    from adapters.assembly import stored  # noqa: PLC0415

    with told_in_words(), stored.quarantine(data_dir) as service:
        for message_id in message_ids:
            service.redrive(message_id, by)
            typer.echo(f"{message_id} is owed again")
