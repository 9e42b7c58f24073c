"""`clinical replay`: compute one stored answer again, and say how it compares and in what it differs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

if TYPE_CHECKING:
    from clinical.services.replay import Replayed

_DIFFERENT, _IMPOSSIBLE = 1, 2


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(replay)


def replay(
    answer_id: Annotated[
        UUID, typer.Argument(help="Of a prediction, or of a comparison of plans.")
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Folder of the model that answered, where another serves now."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the embedded database; else by CLINICAL_DATA_DIR."),
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Say it as one JSON object.")] = False,
) -> None:
    """Compute an answer again; status 0 if equal or within tolerance, 1 if different, 2 if it cannot be."""
    from adapters.assembly.auditing import auditing  # noqa: PLC0415
    from clinical.errors import ClinicalError  # noqa: PLC0415
    from clinical.prediction.replay import Replay  # noqa: PLC0415
    from clinical.services.replay import OtherModelError  # noqa: PLC0415
    from pipelines.commands.processes import commands  # noqa: PLC0415

    try:
        with auditing(commands().model, data_dir=data_dir, checkpoint=checkpoint) as parts:
            replayed = parts.replays.replay(answer_id)
    except ClinicalError as error:
        is_elsewhere = isinstance(error, OtherModelError)
        hint = "; name the folder of its checkpoint with --checkpoint" if is_elsewhere else ""
        if is_json:
            typer.echo(json.dumps({"id": str(answer_id), "verdict": None, "why": error.code}))
        typer.echo(f"cannot be replayed: {error.code}: {error}{hint}", err=True)
        raise typer.Exit(_IMPOSSIBLE) from error
    if is_json:
        typer.echo(json.dumps(_as_json(replayed)))
    else:
        _show(replayed)
    if replayed.recomputed.replay is Replay.DIFFERENT:
        raise typer.Exit(_DIFFERENT)


def _as_json(replayed: "Replayed") -> dict[str, Any]:
    recomputed, capsule = replayed.recomputed, replayed.capsule
    received = capsule.received
    return {
        "id": str(replayed.subject_id),
        "subject": replayed.subject,
        "verdict": recomputed.replay.name.lower(),
        "promised": capsule.grade.value,
        "capsule": capsule.digest,
        "records": None if received is None else received.num_records,
        "deliveries": None if received is None else received.num_deliveries,
        "circumstances": [
            {"name": each.name, "before": each.before, "now": each.now}
            for each in recomputed.circumstances
        ],
        "differences": [
            {"what": gap.name, "size": gap.size, "is_within_tolerance": gap.is_small}
            for gap in recomputed.gaps
        ],
    }


def _show(replayed: "Replayed") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console, recomputed = Console(), replayed.recomputed
    capsule, received = replayed.capsule, replayed.capsule.received
    console.print(f"{replayed.subject} {replayed.subject_id}: {recomputed.replay}", soft_wrap=True)
    console.print(f"promised {capsule.grade}; capsule {capsule.digest}", soft_wrap=True)
    rests_on = "bytes as received: not recorded"
    if received is not None:
        rests_on = (
            f"{received.num_records:,} records in {received.num_deliveries:,} deliveries,"
            " hashed again: the bytes that came"
        )
    console.print(rests_on, soft_wrap=True)
    if recomputed.circumstances:
        others = Table("computed under another", "before", "now")
        for each in recomputed.circumstances:
            others.add_row(each.name, each.before, each.now)
        console.print(others)
    if recomputed.gaps:
        gaps = Table("what differs", "by at most", "within tolerance")
        for gap in recomputed.gaps:
            size = "" if gap.size is None else f"{gap.size:.3g}"
            gaps.add_row(gap.name, size, "yes" if gap.is_small else "no")
        console.print(gaps)
    if recomputed.largest is not None:
        console.print(f"largest: {recomputed.largest.size:.3g} in {recomputed.largest.name}")
