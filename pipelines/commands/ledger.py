"""`clinical ledger` and `clinical witness`: the audit log for others to check."""

import base64
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.ending import told_in_words


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="The audit log, for others to check.", no_args_is_help=True)
    for name, command in (("key", key), ("export", export), ("verifier", verifier)):
        group.command(name)(command)
    app.add_typer(group, name="ledger")
    app.command()(witness)


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
