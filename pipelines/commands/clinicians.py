"""The local accounts of clinicians: who may sign in to the review page."""

import sys
from typing import Annotated

import typer

from pipelines.commands.ending import told_in_words

_MIN_PASSWORD_CHARACTERS = 12


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="Who may sign in to review.", no_args_is_help=True)
    group.command("add")(add)
    app.add_typer(group, name="clinician")


def add(
    name: Annotated[str, typer.Argument(help="The name to sign in with.")],
    display_name: Annotated[
        str, typer.Option(help="As it is shown to colleagues; else the name.")
    ] = "",
    role: Annotated[str, typer.Option(help="What the clinician may do.")] = "clinician",
    password_stdin: Annotated[
        bool, typer.Option(help="Read the password from standard input, for scripts.")
    ] = False,
) -> None:
    """Add a clinician; the password is asked for, and only its hash is kept."""
    from adapters.assembly.accounts import add_clinician  # noqa: PLC0415

    password = _given_password() if password_stdin else _asked_password()
    if len(password) < _MIN_PASSWORD_CHARACTERS:
        typer.echo(f"A password has at least {_MIN_PASSWORD_CHARACTERS} characters.", err=True)
        raise typer.Exit(1)
    with told_in_words():
        add_clinician(name, display_name or name, password, role)
    typer.echo(f"{name} may sign in.")


def _given_password() -> str:
    return sys.stdin.readline().rstrip("\r\n")


def _asked_password() -> str:
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password
