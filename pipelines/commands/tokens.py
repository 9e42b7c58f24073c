"""`clinical token`: access tokens with which programs read what is exposed as FHIR."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from adapters.clock import SystemClock
from clinical.audit.entry import Act
from pipelines.commands.ending import told_in_words

_DATA_DIR = typer.Option(help="Folder of the embedded database; else by CLINICAL_DATA_DIR.")
_BY = typer.Option(help="Who does this; it enters the audit log.")


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="Tokens for programs that read FHIR here.", no_args_is_help=True)
    for name, command in (("issue", issue), ("list", list_), ("revoke", revoke)):
        group.command(name)(command)
    app.add_typer(group, name="token")


def issue(
    name: Annotated[str, typer.Argument(help="The account for which the token speaks.")],
    by: Annotated[str, _BY],
    days: Annotated[int, typer.Option(help="How long it is good.")] = 90,
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Issue a token for an account; it is shown once, and only its digest is kept."""
    from adapters.assembly import exposing  # noqa: PLC0415

    with told_in_words(), exposing.tokens(data_dir) as tokens:
        issued, token = tokens.issue(name, _act(by), timedelta(days=days))
    typer.echo(f"{issued.token_id}, for {name}, until {issued.expires_at:%Y-%m-%d %H:%M %Z}")
    typer.echo(token)


def list_(data_dir: Annotated[Path | None, _DATA_DIR] = None) -> None:
    """Every token that was issued, the newest first."""
    from adapters.assembly import exposing  # noqa: PLC0415

    with told_in_words(), exposing.tokens(data_dir) as tokens:
        for each in tokens.all():
            ended = f"revoked {each.revoked_at:%Y-%m-%d %H:%M}" if each.revoked_at else ""
            until = f"until {each.expires_at:%Y-%m-%d}"
            typer.echo(
                f"{each.token_id}  {each.name}  {until}  by {each.issued_by}  {ended}".rstrip()
            )


def revoke(
    token_id: Annotated[UUID, typer.Argument(help="As `clinical token list` says.")],
    by: Annotated[str, _BY],
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Take a token back: from now on it speaks for nobody."""
    from adapters.assembly import exposing  # noqa: PLC0415

    with told_in_words(), exposing.tokens(data_dir) as tokens:
        tokens.revoke(token_id, _act(by))
    typer.echo("revoked")


def _act(by: str) -> Act:
    return Act(actor=by, at=SystemClock().now())
