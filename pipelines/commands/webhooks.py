"""`clinical webhooks`: those who are told what happens here, and what they could not be told."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID, uuid4

import typer

from pipelines.commands.ending import told_in_words

if TYPE_CHECKING:
    from clinical.services.ports import ReceiverName

_DATA_DIR = typer.Option(help="Folder of the embedded database; else by CLINICAL_DATA_DIR.")
_SITE = typer.Argument(help="A site of the sites file (CLINICAL_SITES_FILE).")
_NAME = typer.Argument(help="The receiver's name there.")
_BY = typer.Option(help="Who you are: it enters the audit log.")
_LIMIT = typer.Option(min=1, help="At most so many.")


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="Those who are told what happens here.", no_args_is_help=True)
    group.command("list")(list_all)
    group.command("dead")(dead)
    group.command("redrive")(redrive)
    group.command("enable")(enable)
    group.command("ping")(ping)
    app.add_typer(group, name="webhooks")


def list_all(data_dir: Annotated[Path | None, _DATA_DIR] = None) -> None:
    """Every receiver: whether it is told, how much is owed or was given up, and how the last try went."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from adapters.assembly import stored  # noqa: PLC0415

    with told_in_words(), stored.announcing(data_dir) as (service, _, named):
        states = {each.receiver: each for each in service.states()}
    table = Table("site", "name", "state", "owed", "given up", "last try", "answer")
    for receiver in sorted({*named, *states}, key=lambda r: (r.site, r.endpoint)):
        state = states.get(receiver)
        is_gone = state is not None and state.disabled_at is not None
        how = "gone" if is_gone else "on" if receiver in named else "not in the sites file"
        table.add_row(
            receiver.site,
            receiver.endpoint,
            how,
            str(state.num_owed if state else 0),
            str(state.num_dead if state else 0),
            state.last_at.isoformat(timespec="seconds") if state and state.last_at else "",
            str(state.last_status or "none") if state and state.last_at else "",
        )
    Console().print(table)


def dead(
    limit: Annotated[int, _LIMIT] = 50, data_dir: Annotated[Path | None, _DATA_DIR] = None
) -> None:
    """What receivers were not told in the end, the newest first."""
    from rich.console import Console  # noqa: PLC0415

    from adapters.assembly import stored  # noqa: PLC0415
    from pipelines.commands.tables import table  # noqa: PLC0415

    with told_in_words(), stored.announcing(data_dir) as (service, _, _named):
        found = service.dead(limit)
    listed = table("message", "site", "name", "event", "why", "given up")
    for each in found:
        when = each.given_up_at.isoformat(timespec="seconds")
        name = each.receiver
        listed.add_row(
            str(each.message_id), name.site, name.endpoint, each.event, each.error_code, when
        )
    Console().print(listed)


def redrive(
    message_ids: Annotated[list[UUID], typer.Argument(help="As `dead` says them.")],
    by: Annotated[str, _BY],
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Tell again what was given up, from the beginning of the schedule, under the same ids."""
    from adapters.assembly import stored  # noqa: PLC0415

    with told_in_words(), stored.quarantine(data_dir) as service:
        for message_id in message_ids:
            service.redrive(message_id, by)
            typer.echo(f"{message_id} is owed again")


def enable(
    site: Annotated[str, _SITE],
    name: Annotated[str, _NAME],
    by: Annotated[str, _BY],
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Tell a receiver again that said it was gone (410); `redrive` for what it missed."""
    from adapters.assembly import stored  # noqa: PLC0415

    with told_in_words(), stored.announcing(data_dir) as (service, _, _named):
        is_new = service.enable(_receiver(site, name), by)
    typer.echo("It is told again." if is_new else "It was not disabled.")


def ping(
    site: Annotated[str, _SITE],
    name: Annotated[str, _NAME],
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Send a receiver a signed event of type `ping`, once, and tell how it went."""
    from adapters.assembly import stored  # noqa: PLC0415

    with told_in_words(), stored.announcing(data_dir) as (_, receivers, _named):
        receivers.ping(_receiver(site, name), uuid4())
        typer.echo("It took the ping.")


def _receiver(site: str, name: str) -> "ReceiverName":
    from clinical.services.ports import ReceiverName  # noqa: PLC0415

    return ReceiverName(site, name)
