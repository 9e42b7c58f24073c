"""`clinical recall`: what a model or an input record touched, who signed it, and marks on all of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clinical.prediction.registry import Concern
from pipelines.commands.ending import told_in_words

if TYPE_CHECKING:
    from clinical.review.recall import Findings, TouchedPrediction
    from clinical.services.recall import Recalled, RecallService, Target

_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(recall)


def recall(  # noqa: PLR0913, PLR0917 - each is an option of the command
    model: Annotated[
        str | None, typer.Option(help="Digest of a model, the beginning of it, or its name.")
    ] = None,
    input_record: Annotated[
        str | None,
        typer.Option("--input", help="TYPE/ID of a record, or TYPE/ID/VERSION of one version."),
    ] = None,
    site: Annotated[str, typer.Option(help="Whose record, where several sites have it.")] = "",
    by: Annotated[str, typer.Option(help="Who you are: it enters the audit log.")] = "",
    reason: Annotated[Concern, typer.Option(help="In a word, for the audit log.")] = Concern.OTHER,
    note: Annotated[
        str, typer.Option(help="More in words, for people here: it does not enter the audit log.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write every prediction, .json or .csv. Patients are named there, by our own ids."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list; change nothing.")] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the embedded database; else by CLINICAL_DATA_DIR."),
    ] = None,
) -> None:
    """Find all that rested on a model or a record; withdraw open reviews, have signed ones looked at again.

    Nothing is deleted, and doing it again marks only what came since.
    """
    from adapters.assembly import stored  # noqa: PLC0415
    from pipelines.recall_file import write  # noqa: PLC0415

    if (model is None) == (input_record is None):
        raise typer.BadParameter("name one of --model and --input")
    if not dry_run and not by.strip():
        raise typer.BadParameter("say who you are, or look only with --dry-run", param_hint="--by")
    if out is not None and out.suffix not in {".json", ".csv"}:
        raise typer.BadParameter("a file that ends in .json or .csv", param_hint="--out")
    with told_in_words(), stored.recalls(data_dir) as service:
        target = _target(service, model, input_record, site)
        done = None if dry_run else service.recall(target, by.strip(), reason, note)
        findings, signed = service.findings(target), service.signed(target, _SHOWN)
        if out is not None:
            write(out, target, findings, service.all_touched(target))
    _print(findings, signed, done)


def _target(
    service: "RecallService", model: str | None, input_record: str | None, site: str
) -> "Target":
    from clinical.review.recall import RecordName  # noqa: PLC0415

    if model is not None:
        return service.of_model(model)
    return service.of_record(RecordName.parse(input_record or "", site))


def _print(
    findings: "Findings", signed: "list[TouchedPrediction]", done: "Recalled | None"
) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    counts = Table(show_header=False, box=None)
    for name, count in (
        ("Predictions", findings.num_predictions),
        ("Patients", findings.num_patients),
        ("Plan comparisons", findings.num_comparisons),
        *((f"Reviews {state}", num) for state, num in sorted(findings.reviews_by_state.items())),
        *((f"Signed by {name}", num) for name, num in sorted(findings.signers.items())),
        *((f"Read by {name}", num) for name, num in sorted(findings.readers.items())),
    ):
        counts.add_row(name, f"{count:,}")
    console = Console()
    console.print(counts)
    if signed:
        title = f"Signed, the newest {len(signed)}" if len(signed) == _SHOWN else "Signed"
        table = Table("review", "signed by", "at", "verdict", "read by", title=title)
        for each in signed:
            when = each.signed_at.isoformat(timespec="seconds") if each.signed_at else ""
            readers = ", ".join(each.readers)
            table.add_row(str(each.review_id), each.signed_by, when, each.verdict, readers)
        console.print(table)
    console.print(_sentence(done))


def _sentence(done: "Recalled | None") -> str:
    if done is None:
        return "Nothing was changed."
    return (
        f"{done.num_withdrawn:,} open reviews withdrawn, {done.num_to_look_at:,} signed ones to be"
        f" looked at again (recall {done.recall.recall_id})."
    )
