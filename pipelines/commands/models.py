"""`clinical models` and `clinical stop`: which model may answer, since when, and who said so."""

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clinical.prediction.registry import Concern
from pipelines.commands.ending import told_in_words

if TYPE_CHECKING:
    from clinical.prediction.registry import RegisteredModel
    from clinical.services.registry import RegistryService

_DATA_DIR = typer.Option(help="Folder of the embedded database; else by CLINICAL_DATA_DIR.")
_MODEL = typer.Argument(help="Its digest, the beginning of it, or its name.")
_BY = typer.Option(help="Who you are: it enters the audit log.")
_BY_ACCOUNT = typer.Option(help="Your account; its password is asked for.")
_PASSWORD_STDIN = typer.Option(help="Read the password from standard input, for scripts.")
_NOTE = typer.Option(help="More in words, for people here: it does not enter the audit log.")


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="Which models may answer for review.", no_args_is_help=True)
    group.command("list")(list_all)
    group.command("show")(show)
    group.command("register")(register_folder)
    group.command("propose")(propose)
    group.command("promote")(promote)
    app.add_typer(group, name="models")
    app.command()(stop)


def list_all(data_dir: Annotated[Path | None, _DATA_DIR] = None) -> None:
    """Every model that was ever known here, the newest first."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from adapters.assembly import stored  # noqa: PLC0415

    with told_in_words(), stored.registry(data_dir) as service:
        models = service.all()
    table = Table("digest", "name", "state", "since", "proposed by")
    for model in models:
        table.add_row(
            model.fingerprint.manifest_digest[:12],
            f"{model.fingerprint.name} {model.fingerprint.version}",
            model.state,
            (model.stop.at if model.stop else model.registered_at).isoformat(timespec="seconds"),
            model.proposed_by or "",
        )
    Console().print(table)


def show(model: Annotated[str, _MODEL], data_dir: Annotated[Path | None, _DATA_DIR] = None) -> None:
    """One model, and every step of its history."""
    from adapters.assembly import stored  # noqa: PLC0415

    with told_in_words(), stored.registry(data_dir) as service:
        found, history = service.show(model)
    _say(found)
    for step in history:
        why = f": {step.concern}" if step.concern else ""
        note = f" ({step.note})" if step.note else ""
        typer.echo(f"{step.at.isoformat(timespec='seconds')} {step.move} by {step.by}{why}{note}")


def register_folder(
    folder: Annotated[Path, typer.Argument(help="A checkpoint; each of its files is checked.")],
    by: Annotated[str, _BY],
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Let a model be known before it is served, so that it can be proposed and promoted."""
    from adapters.assembly import stored  # noqa: PLC0415
    from clinical.worldmodel.checkpoint import load  # noqa: PLC0415

    with told_in_words():
        fingerprint = load(folder).fingerprint
        with stored.registry(data_dir) as service:
            _say(service.register(fingerprint, _named(by)))


def propose(
    model: Annotated[str, _MODEL],
    by: Annotated[str, _BY_ACCOUNT],
    password_stdin: Annotated[bool, _PASSWORD_STDIN] = False,
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Propose that a model answer for review; it does once another person promotes it."""
    with told_in_words(), _registry_as(by, data_dir, is_stdin=password_stdin) as service:
        _say(service.propose(model, by))


def promote(
    model: Annotated[str, _MODEL],
    by: Annotated[str, _BY_ACCOUNT],
    password_stdin: Annotated[bool, _PASSWORD_STDIN] = False,
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Let a model answer for review that another person proposed; what waited for it goes on."""
    with told_in_words(), _registry_as(by, data_dir, is_stdin=password_stdin) as service:
        _say(service.promote(model, by))


def stop(
    model: Annotated[str, _MODEL],
    by: Annotated[str, _BY],
    reason: Annotated[Concern, typer.Option(help="In a word, for the audit log.")],
    note: Annotated[str, _NOTE] = "",
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Stop a model: from when this returns, nothing that it answers is stored or shown."""
    from adapters.assembly import stored  # noqa: PLC0415

    with told_in_words(), stored.registry(data_dir) as service:
        _say(service.stop(model, _named(by), reason, note))
    typer.echo("Open reviews of it stay, with a warning; `clinical recall --model` withdraws them.")


def _registry_as(
    by: str, data_dir: Path | None, *, is_stdin: bool
) -> "AbstractContextManager[RegistryService]":
    from adapters.assembly import stored  # noqa: PLC0415

    if is_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True)
    return stored.registry_as(by, password, data_dir)


def _named(by: str) -> str:
    if not by.strip():
        raise typer.BadParameter("say who you are", param_hint="--by")
    return by.strip()


def _say(model: "RegisteredModel") -> None:
    known = model.fingerprint
    proposed = f", proposed by {model.proposed_by}" if model.proposed_by else ""
    typer.echo(f"{known.manifest_digest} {known.name} {known.version}: {model.state}{proposed}")
