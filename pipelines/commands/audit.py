"""`clinical audit`: verify the log, recompute a sample, compare with what happened, write a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.ending import told_in_words

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.evaluation.findings import Findings


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(audit)


def audit(
    sample: Annotated[
        int, typer.Option(min=0, help="How many predictions to compute again.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Of the sample and the intervals.")] = 0,
    out: Annotated[Path, typer.Option(help="Where to write the report.")] = Path(
        "audit-report.html"
    ),
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the embedded database; else by CLINICAL_DATA_DIR."),
    ] = None,
) -> None:
    """Audit everything stored; status 0 if the log is sound and all recomputed predictions are equal."""
    # The statistics take seconds to load: only when they are needed.
    from rich.console import Console  # noqa: PLC0415

    from adapters.assembly.auditing import auditing  # noqa: PLC0415
    from clinical.audit.entry import Act  # noqa: PLC0415
    from pipelines.commands.processes import commands  # noqa: PLC0415
    from pipelines.evaluation import audit_report  # noqa: PLC0415
    from pipelines.evaluation.auditing import Auditor, Choices, note_audit, run_audit  # noqa: PLC0415
    from pipelines.evaluation.intake_findings import intake_findings  # noqa: PLC0415

    console = Console()
    with (
        told_in_words(),
        console.status("Starting …") as status,
        auditing(commands().model, data_dir=data_dir) as parts,
    ):
        parts.shedding.require_calm()
        auditor = Auditor(
            open_unit_of_work=parts.open_unit_of_work,
            clock=parts.clock,
            identities=parts.identities,
            log=parts.log,
            replays=parts.replays,
            intake=lambda: intake_findings(parts.engine),
        )
        findings = run_audit(auditor, Choices(sample=sample, seed=seed), status.update)
        page = audit_report.render(findings)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, "utf-8")
        act = Act(actor="audit", at=parts.clock.now())
        note_audit(auditor, findings, audit_report.digest(page), act)
    console.print(_summary(findings))
    console.print(findings.verdict, soft_wrap=True)
    console.print(f"Report {out}", soft_wrap=True)
    if not findings.is_passed:
        raise typer.Exit(1)


def _summary(findings: "Findings") -> "Table":
    from rich.table import Table  # noqa: PLC0415

    log, replay, reviews = findings.log, findings.replay, findings.reviews
    counts = {kind.value: count for kind, count in replay.counts.items() if count}
    known = sum(each.figures.prevalence.n for each in findings.risks)
    enough = sum(each.figures.auroc.is_sufficient for each in findings.risks)
    rows = {
        "predictions": f"{findings.num_predictions:,} for {findings.num_patients:,} patients",
        "audit log": "sound" if log.report.is_sound else "NOT sound",
        "audit head": f"{log.size} {log.root[:16]}…",
        "without a leaf yet": f"{log.report.num_unsequenced:,}",
        "recomputed": ", ".join(f"{n:,} {name}" for name, n in counts.items()) or replay.why_not,
        "of other models": f"{replay.num_of_other_models:,}",
        "known outcomes": f"{known:,}, enough for figures in {enough} of {len(findings.risks)}",
        "withheld readouts": f"{sum(each.withheld for each in findings.withheld):,}"
        f" of {sum(each.asked for each in findings.withheld):,}",
        "decisions": f"{sum(reviews.by_verdict.values()):,}",
        "quarantined": f"{sum(findings.intake.quarantined.values()):,}",
    }
    table = Table(title="Audit", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in rows.items():
        table.add_row(name, value or "none")
    return table
