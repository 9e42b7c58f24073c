"""`clinical site` and `clinical keys`: the systems we are joined with, and how we prove who we are."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.commands.ending import told_in_words

_DATA_DIR = typer.Option(help="Folder of the keys; else by CLINICAL_DATA_DIR.")
_MARKS = {True: "works", False: "FAILS", None: "unknown"}


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    sites = typer.Typer(help="The sites of CLINICAL_SITES_FILE.", no_args_is_help=True)
    sites.command("list")(list_sites)
    sites.command("check")(check)
    app.add_typer(sites, name="site")
    keys = typer.Typer(help="The keys with which we prove who we are.", no_args_is_help=True)
    for name, command in (("list", list_keys), ("rotate", rotate), ("remove", remove)):
        keys.command(name)(command)
    app.add_typer(keys, name="keys")


def list_sites() -> None:
    """Every site, and what is on for it."""
    from adapters.assembly import checking  # noqa: PLC0415

    with told_in_words():
        for name, parts in checking.overview().items():
            typer.echo(f"{name}: {', '.join(parts) or 'nothing is on'}")


def check(
    name: Annotated[str, typer.Argument(help="The site, as the sites file calls it.")],
) -> None:
    """Say in words what works with a site and what does not; status 1 where something fails."""
    from adapters.assembly import checking  # noqa: PLC0415

    has_failed = False
    with told_in_words():
        for finding in checking.check(name):
            has_failed = has_failed or finding.is_well is False
            typer.echo(f"{_MARKS[finding.is_well]:8} {finding.what}: {finding.detail}")
    if has_failed:
        raise typer.Exit(1)


def list_keys(data_dir: Annotated[Path | None, _DATA_DIR] = None) -> None:
    """Every key, the oldest first, and which one signs."""
    from adapters.assembly import checking  # noqa: PLC0415

    with told_in_words():
        for key, is_signing in checking.signing_keys(data_dir):
            state = "signs" if is_signing else "published"
            typer.echo(f"{key.kid}  {key.algorithm}  made {key.made_at.isoformat()}  {state}")


def rotate(
    algorithm: Annotated[
        Literal["RS384", "ES384"], typer.Option(help="RS384 also signs for Nabla (RS256).")
    ] = "RS384",
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Make a key. It is published at once, and signs an hour later; the older one stays published."""
    from adapters.assembly import checking  # noqa: PLC0415

    with told_in_words():
        key = checking.keys_in(data_dir).rotate(algorithm)
    typer.echo(f"{key.kid} is published at /.well-known/jwks.json, and signs in an hour")


def remove(
    kid: Annotated[str, typer.Argument(help="As `clinical keys list` says it.")],
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Unpublish a key that does not sign any more."""
    from adapters.assembly import checking  # noqa: PLC0415

    with told_in_words():
        checking.keys_in(data_dir).remove(kid)
    typer.echo(f"{kid} is not published any more")
