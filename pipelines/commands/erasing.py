"""`clinical erase`: a patient is erased, and the audit log stays provable."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.ending import told_in_words

if TYPE_CHECKING:
    from clinical.services.ports import Erased


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(erase)


def erase(
    site: Annotated[str, typer.Argument(help="The site that knows the patient.")],
    record_id: Annotated[str, typer.Argument(help="The EHR's id of the patient's own record.")],
    by: Annotated[str, typer.Option(help="Who you are: it enters the audit log.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    scrub: Annotated[
        bool,
        typer.Option(
            "--scrub",
            help="Also rewrite the tables, so that no page keeps what was deleted; they are locked meanwhile.",
        ),
    ] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the embedded database; else by CLINICAL_DATA_DIR."),
    ] = None,
) -> None:
    """Erase all that is stored of a patient; every proof of the audit log stays valid.

    Received bytes that told of others too go as well: what was understood of the others stays.
    """
    from adapters.assembly import stored  # noqa: PLC0415
    from clinical.timeline.patient import PatientRef  # noqa: PLC0415

    patient = PatientRef(site, record_id)
    with told_in_words(), stored.erasure(data_dir) as (service, rewrite):
        if not yes:
            typer.echo(_in_words(service.extent(patient)))
            typer.confirm("Erase this? It cannot be undone.", abort=True)
        done = service.erase(patient, by)
        if scrub:
            rewrite()
    typer.echo(f"Erased {_in_words(done.erased)}.")
    typer.echo(f"Audit entry {done.entry_id}; its salt, kept nowhere else: {done.salt.hex()}")
    typer.echo("Backups and write-ahead logs keep what they hold until they age out.")


def _in_words(erased: "Erased") -> str:
    told = {name.removeprefix("num_"): count for name, count in asdict(erased).items()}
    shared = told.pop("shared")
    told.pop("sealed")
    merged = told.pop("merged")
    words = ", ".join(f"{count} {name}" for name, count in told.items())
    return (
        f"{words} ({shared} of the deliveries told of other patients too;"
        f" {merged} records were merged with the one named)"
    )
