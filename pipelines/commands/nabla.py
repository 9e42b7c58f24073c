"""`clinical nabla`: encounters opened in Nabla Connect from the EHR's side, and users made known to it."""

import sys
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from pipelines.commands.ending import told_in_words

if TYPE_CHECKING:
    from adapters.nabla.connect_client import ConnectClient

_SITE = typer.Argument(help="A site of the sites file (CLINICAL_SITES_FILE).")


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="Nabla Connect, as the EHR sees it.", no_args_is_help=True)
    group.command("encounter")(encounter)
    group.command("url")(url)
    group.command("user")(user)
    app.add_typer(group, name="nabla")


def encounter(site: Annotated[str, _SITE]) -> None:
    """Open the encounter that standard input describes (JSON); prints its address, good once, for ten minutes.

    It is read from there because a command line is seen by others, and patients are named in it. Its
    members: provider_email, external_provider_id, external_patient_id, external_encounter_id, name,
    birth_date, gender, and optionally pronouns, visit_diagnoses, unstructured_context.
    """
    from adapters.nabla.requests import Encounter  # noqa: PLC0415

    with told_in_words():
        typer.echo(_connect(site).open_encounter(_stated(Encounter)))


def url(
    site: Annotated[str, _SITE],
    provider: Annotated[str, typer.Option(help="external_provider_id")],
    encounter_id: Annotated[str, typer.Option("--encounter", help="external_encounter_id")],
) -> None:
    """A fresh address of an encounter that was opened before."""
    with told_in_words():
        typer.echo(_connect(site).encounter_url(provider, encounter_id))


def user(
    site: Annotated[str, _SITE],
    email: Annotated[str, typer.Option(help="provider_email")],
    provider: Annotated[str, typer.Option(help="external_provider_id")],
) -> None:
    """Let Connect know a clinician."""
    from adapters.nabla.requests import User  # noqa: PLC0415

    with told_in_words():
        _connect(site).add_user(User(provider_email=email, external_provider_id=provider))
        typer.echo("Connect knows the clinician.")


def _connect(site: str) -> "ConnectClient":
    from adapters import telemetry  # noqa: PLC0415
    from adapters.assembly import nabla  # noqa: PLC0415

    telemetry.configure("command")
    return nabla.connect_client_of(site)


_Stated = TypeVar("_Stated")


def _stated(shape: type[_Stated]) -> _Stated:
    import msgspec  # noqa: PLC0415

    try:
        return msgspec.json.decode(sys.stdin.buffer.read(), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # It names the member, not what stands in it.
        raise typer.BadParameter(str(error), param_hint="standard input") from None
