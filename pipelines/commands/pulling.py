"""`clinical pull`: asks a site's EHR by hand: a bulk export, everything of a patient, what changed."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.ending import told_in_words

if TYPE_CHECKING:
    from rich.console import Console

    from adapters.assembly.pulling import PullingParts
    from adapters.fhir.pulling.bulk import Scope
    from adapters.sites.pulling import Bulk, Poll
    from pipelines.pulling.bulk import BulkPull
    from pipelines.pulling.errand import BulkReport, Errand

_SITE = Annotated[str, typer.Argument(help="A site of the sites file with a FHIR server.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(
        name="pull",
        help="Ask a site's EHR: what it sends is stored, and understood by the workers.",
        no_args_is_help=True,
    )
    group.command("bulk")(bulk)
    group.command("patient")(patient)
    group.command("poll")(poll)
    app.add_typer(group)


def bulk(
    site: _SITE,
    group: Annotated[str, typer.Option(help="The id of a Group: its patients.")] = "",
    system: Annotated[
        bool, typer.Option("--system", help="All that the server has, not only of patients.")
    ] = False,
    types: Annotated[
        str, typer.Option(help="Resource types, with commas; else those of the sites file, or all.")
    ] = "",
    since: Annotated[
        str, typer.Option(help="What changed since this instant; else since the last export.")
    ] = "",
    full: Annotated[bool, typer.Option("--full", help="All of it, whenever it changed.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the export that is under way.")
    ] = False,
    call_off: Annotated[
        bool,
        typer.Option("--call-off", help="End the export that is under way; what is stored stays."),
    ] = False,
) -> None:
    """A bulk export ($export): all patients, a group or the server; it can be killed and resumed."""
    from rich.console import Console  # noqa: PLC0415

    from adapters.assembly.pulling import pulling_parts  # noqa: PLC0415
    from adapters.fhir.pulling.pages import instant  # noqa: PLC0415
    from pipelines.pulling.bulk import BulkPull  # noqa: PLC0415

    if sum((bool(since), full, resume, call_off)) > 1:
        raise typer.BadParameter("one of --since, --full, --resume and --call-off")
    if since and instant(since) is None:
        raise typer.BadParameter("--since is an instant with its zone")
    console = Console()
    with told_in_words(), pulling_parts(site) as parts:
        scope = _scope(parts.site.bulk, group=group, is_system=system, types=types)
        pull = BulkPull(errand=_errand(parts), scope=scope)
        if call_off:
            pull.call_off()
            console.print("Called off.")
            return
        report = _with_progress(
            pull, console, is_resumed=resume, since="" if full else since or None
        )
    _tell(report, console)


def patient(
    site: _SITE,
    record_id: Annotated[str, typer.Argument(help="The EHR's id of the patient's own record.")],
) -> None:
    """Everything that the EHR holds of one patient ($everything)."""
    from adapters.assembly.pulling import pulling_parts  # noqa: PLC0415
    from pipelines.pulling.patient import pull_patient  # noqa: PLC0415

    with told_in_words(), pulling_parts(site) as parts:
        report = pull_patient(
            parts.service, parts.site.asking, record_id, clock=parts.clock, actor="pull"
        )
    typer.echo(f"{report.num_pages} pages, {report.num_new_pages} of them new.")
    if report.num_too_large:
        typer.echo(f"{report.num_too_large} are larger than a reader opens: they are kept, unread.")


def poll(site: _SITE) -> None:
    """What changed since the last poll, once, by what the sites file says of polling."""
    from adapters.assembly.pulling import pulling_parts  # noqa: PLC0415
    from clinical.services.shedding import Shed  # noqa: PLC0415
    from pipelines.pulling.poll import Poller  # noqa: PLC0415

    with told_in_words(), pulling_parts(site) as parts:
        stated = _stated(parts.site.poll)
        poller = Poller(
            service=parts.service,
            asking=parts.site.asking,
            poll=stated,
            clock=parts.clock,
            is_crowded=lambda: parts.shedding.now() >= Shed.BACKFILL,
        )
        for record_type in stated.types:
            report = poller.turn(record_type, is_due=False)
            if report is None:
                typer.echo(f"{record_type}: somebody else asks just now.")
                continue
            typer.echo(
                f"{record_type}: {report.num_resources} resources on {report.num_pages} pages, "
                f"{report.num_new_pages} of them new; {report.num_outcomes} complaints of the server."
            )
            if report.oddities:
                typer.echo(f"  The server: {', '.join(sorted(report.oddities))}.")


def _stated(stated: "Poll | None") -> "Poll":
    if stated is None:
        raise typer.BadParameter("the sites file does not turn polling on for this site")
    return stated


def _scope(stated: "Bulk", *, group: str, is_system: bool, types: str) -> "Scope":
    from adapters.fhir.pulling.bulk import Level, Scope  # noqa: PLC0415
    from adapters.fhir.references import is_valid_id  # noqa: PLC0415

    group = group or ("" if is_system else stated.group)
    if group and is_system:
        raise typer.BadParameter("either --group or --system")
    if group and not is_valid_id(group):
        raise typer.BadParameter("a group's id is 1 to 64 letters, digits, hyphens or dots")
    level = Level.GROUP if group else Level.SYSTEM if is_system else Level.PATIENT
    asked = tuple(each.strip() for each in types.split(",") if each.strip())
    return Scope(
        level=level, group=group, types=asked or stated.types, type_filters=stated.type_filters
    )


def _errand(parts: "PullingParts") -> "Errand":
    from pipelines.pulling.errand import Errand  # noqa: PLC0415

    return Errand(
        service=parts.service, site=parts.site, clock=parts.clock, identities=parts.identities
    )


def _with_progress(
    pull: "BulkPull", console: "Console", *, is_resumed: bool, since: str | None
) -> "BulkReport":
    from dataclasses import replace  # noqa: PLC0415

    from rich.markup import escape  # noqa: PLC0415
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    told = TextColumn("{task.description}")
    with Progress(SpinnerColumn(), told, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("asking")

        def watch(report: "BulkReport") -> None:
            said = f"waiting: {escape(report.waiting_for)}" if report.waiting_for else _far(report)
            progress.update(task, description=said)

        watched = replace(pull, errand=replace(pull.errand, watch=watch))
        return watched.resume() if is_resumed else watched.begin(since=since)


def _far(report: "BulkReport") -> str:
    return (
        f"{report.num_files_done} of {report.num_files} files, {report.num_lines:,} lines, "
        f"{report.num_new_lines:,} of them new"
    )


def _tell(report: "BulkReport", console: "Console") -> None:
    """Print what came, and what did not agree."""
    console.print(f"{_far(report)}. The workers understand them.")
    if report.num_outcomes:
        console.print(
            f"The EHR tells of {report.num_outcomes} problems: `clinical quarantine list` shows where."
        )
    for record_type, said, found in report.miscounted:
        console.print(
            f"{record_type or 'a file'}: the EHR had said {said} lines, and sent {found}."
        )
    if report.num_changed_files:
        console.print(f"{report.num_changed_files} files had changed and were read from the start.")
    if report.num_restarts:
        console.print("The EHR had thrown the first export away: this is another one.")
    if report.state == "short":
        console.print("Lines are missing: the next export asks again for the same time.")
