"""`clinical ledger` and `clinical witness`: the audit log for others to check."""

import base64
import json
import secrets
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from adapters.clock import SystemClock
from clinical.audit.entry import Act
from pipelines.commands.ending import told_in_words


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="The audit log, for others to check.", no_args_is_help=True)
    for name, command in (
        ("key", key),
        ("export", export),
        ("verifier", verifier),
        ("auditevents", auditevents),
    ):
        group.command(name)(command)
    app.add_typer(group, name="ledger")
    app.command()(witness)


_MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]
_DATA_DIR = typer.Option(
    help="Folder of the embedded database and the keys; else by CLINICAL_DATA_DIR."
)


def key(data_dir: Annotated[Path | None, _DATA_DIR] = None) -> None:
    """The key with which this site's checkpoints are checked; give it to auditors and witnesses."""
    from adapters.assembly.stored import notary  # noqa: PLC0415

    with told_in_words():
        typer.echo(notary(data_dir).key.to_text())


def export(
    out: Annotated[Path, typer.Option(help="File for the entries, a line each.")] = Path(
        "ledger.txt"
    ),
    checkpoint: Annotated[Path, typer.Option(help="File for the signed head.")] = Path(
        "ledger.checkpoint"
    ),
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Write every entry under the newest signed head, for `verify_ledger.py export`."""
    from adapters.assembly import stored  # noqa: PLC0415

    with told_in_words(), stored.ledger(data_dir) as ledger:
        note = ledger.checkpoint()
        with out.open("wb") as file:
            number = sum(1 for line in ledger.export(note) if file.write(line))
        checkpoint.write_text(note.to_text(), "utf-8")
    typer.echo(f"{number} entries in {out}, their head in {checkpoint}")


def auditevents(
    by: Annotated[str, typer.Option(help="Who exports; it enters the audit log.")],
    since: Annotated[
        datetime | None, typer.Option(formats=_MOMENTS, help="From this moment on, UTC.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=_MOMENTS, help="Up to this moment, UTC.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File; else standard output.")] = None,
    with_patients: Annotated[
        bool, typer.Option(help="Name patients, by our pseudonyms: the file is patient data then.")
    ] = False,
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Write the audit log as FHIR AuditEvents (IHE BALP), one a line: NDJSON as in Bulk Data."""
    from adapters.assembly import exposing  # noqa: PLC0415

    since, until = (each and each.replace(tzinfo=UTC) for each in (since, until))
    act = Act(actor=by, at=SystemClock().now())
    with (
        told_in_words(),
        exposing.disclosures(data_dir) as (service, shapes),
        service.export_audited(since, until, act) as found,
        nullcontext(sys.stdout) if out is None else out.open("w", encoding="utf-8") as file,
    ):
        number = 0
        for each in found:
            event = shapes.audit_event(each, shows_patients=with_patients)
            file.write(json.dumps(event, separators=(",", ":")) + "\n")
            number += 1
    typer.echo(f"{number} AuditEvents", err=True)


def verifier() -> None:
    """Print the verifier, one file to take away: clinical ledger verifier > verify_ledger.py."""
    from pipelines import verify_ledger  # noqa: PLC0415

    sys.stdout.write(Path(verify_ledger.__file__).read_text("utf-8"))


def witness(
    log: Annotated[str, typer.Option(help="Address of the site, such as https://host.")],
    log_key: Annotated[str, typer.Option(help="What `clinical ledger key` says there.")],
    name: Annotated[str, typer.Option(help="The witness's own name, one that no other has.")],
    folder: Annotated[Path, typer.Option(help="For its key and what it has seen.")] = Path(
        "witness"
    ),
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 10.0,
) -> None:
    """Watch a site's audit log from elsewhere, and cosign it as long as it only grows."""
    import httpx  # noqa: PLC0415

    from adapters.notary import Ed25519Notary  # noqa: PLC0415
    from clinical.audit.checkpoint import NoteKey, SignatureKind  # noqa: PLC0415
    from pipelines.witness import Witness, watch  # noqa: PLC0415

    with told_in_words(), httpx.Client(base_url=log, trust_env=False) as client:
        notary = Ed25519Notary.of(name, SignatureKind.WITNESS, _secret(folder / "key"))
        typer.echo(f"this witness: {notary.key.to_text()}")
        seen = Witness(
            log=client,
            log_key=NoteKey.from_text(log_key),
            notary=notary,
            memory=folder / "seen.checkpoint",
        )
        watch(seen, every, typer.echo)


def _secret(path: Path) -> bytes:
    """The key, made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(base64.b64encode(secrets.token_bytes(32)).decode())
    return base64.b64decode(path.read_text())
