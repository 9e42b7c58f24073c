"""`clinical import`: takes files in, shows how far it is, and says what became of them."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.ending import told_in_words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pipelines.importing import Importer, ImportReport

_MOST_LISTED = 12


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("import")(import_files)


def import_files(
    path: Annotated[
        Path,
        typer.Argument(
            help="A Bundle, NDJSON (both .gz too), MEDS, HL7 v2, C-CDA, or a folder of them."
        ),
    ],
    site: Annotated[
        str, typer.Option(help="Whose patients they are: ids are unique within a site.")
    ] = "import",
    predict: Annotated[
        bool, typer.Option(help="Owe a prediction for each patient with news.")
    ] = True,
) -> None:
    """Take in patients from files: durable, each once, with what could not be understood kept aside."""
    from rich.console import Console  # noqa: PLC0415

    from adapters.assembly.importing import import_parts  # noqa: PLC0415
    from clinical.services.shedding import Shed  # noqa: PLC0415
    from pipelines.importing import Importer, require  # noqa: PLC0415

    console = Console()
    with told_in_words():
        require(path)  # before a database is started for nothing
    with told_in_words(), import_parts() as parts:
        importer = Importer(
            intake=parts.intake,
            clock=parts.clock,
            identities=parts.identities,
            site=site,
            predict=predict,
            is_crowded=lambda: parts.shedding.now() >= Shed.BACKFILL,
        )
        report = _with_progress(importer, path, console)
    tell(report, console)


def _with_progress(importer: "Importer", path: Path, console: "Console") -> "ImportReport":
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    told = TextColumn("{task.description}")
    with Progress(SpinnerColumn(), told, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("reading")

        def watch(report: "ImportReport") -> None:
            progress.update(
                task,
                description=(
                    f"{report.num_files} files, {report.num_records:,} records "
                    f"({_rate(report):,.0f}/s), {report.num_new_events:,} new events, "
                    f"{report.quarantined.total():,} quarantined"
                ),
            )

        return importer.run(path, watch)


def tell(report: "ImportReport", console: "Console") -> None:
    """Print what was taken, what was not and why."""
    from rich.table import Table  # noqa: PLC0415

    summary = Table("what", "count", title="Imported", title_justify="left")
    summary.columns[1].justify = "right"
    rows = {
        "files": report.num_files,
        "files of another kind, ignored": report.num_files_ignored,
        "files that could not be read": report.num_files_unreadable,
        "deliveries": report.num_deliveries,
        "deliveries taken in before, left alone": report.num_repeated,
        "records": report.num_records,
        "events, new": report.num_new_events,
        "events, already held": report.num_events - report.num_new_events,
        "records quarantined": report.quarantined.total(),
    }
    for what, count in rows.items():
        if count or what in {"files", "deliveries", "events, new", "records quarantined"}:
            summary.add_row(what, f"{count:,}")
    console.print(summary)
    _list(console, Table, "Records read", report.family("record"))
    _list(console, Table, "Records left out, they carry no event", report.family("skipped"))
    _list(console, Table, "Quarantined, by reason", report.quarantined)
    _list(console, Table, "Code systems not known by name, kept", report.family("unmapped_system"))
    _list(console, Table, "Units that are not UCUM, kept", report.family("unmapped_unit"))
    if report.num_deliveries and report.num_repeated == report.num_deliveries:
        console.print("All of it had been taken in before: nothing changed.")
    console.print(f"{report.seconds:.1f} s, {_rate(report):,.0f} records/s.")


def _list(console: "Console", table: "type[Table]", title: str, counts: Counter[str]) -> None:
    if not counts:
        return
    from rich.markup import escape  # noqa: PLC0415

    made = table("", "count", title=title, title_justify="left", min_width=len(title))
    made.columns[1].justify = "right"
    for name, count in counts.most_common(_MOST_LISTED):
        made.add_row(escape(name) or "(none)", f"{count:,}")
    if len(counts) > _MOST_LISTED:
        rest = counts.total() - sum(count for _, count in counts.most_common(_MOST_LISTED))
        made.add_row(f"{len(counts) - _MOST_LISTED} more", f"{rest:,}")
    console.print(made)


def _rate(report: "ImportReport") -> float:
    return report.num_records / report.seconds if report.seconds else 0.0
