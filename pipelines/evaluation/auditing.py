"""J4 as a batch: goes over everything stored and finds out whether it can be trusted.

Reads the audit log, the predictions, the reviews and the inbox; changes nothing but for the one
entry that says an audit was run. Does not know how findings are shown.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clinical.audit.entry import Act, AuditEntry, AuditKind
from clinical.audit.tree import EMPTY_ROOT, Frontier
from clinical.errors import ClinicalError
from clinical.prediction.prediction import ModelFingerprint
from clinical.services.audit import AuditService, LogReport
from clinical.services.ports import Clock, Identities, OpenUnitOfWork
from clinical.services.replay import ReplayService
from pipelines.evaluation.figures import RESAMPLES, Sampling
from pipelines.evaluation.findings import (
    Findings,
    IntakeFindings,
    LogFindings,
    QuantityFindings,
    ReplayFindings,
    RiskFindings,
    WithheldShare,
)
from pipelines.evaluation.metrics import risk_figures
from pipelines.evaluation.outcomes import Judged, group_by_patient
from pipelines.evaluation.quantities import quantity_figures
from pipelines.evaluation.recomputation import replay, sample_of
from pipelines.evaluation.reviewing import ReviewTimes, review_findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Auditor:
    """What an audit works with; `intake` reads the inbox's counts."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    log: AuditService
    replays: ReplayService
    intake: Callable[[], IntakeFindings]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What an audit is asked to do."""

    sample: int = 100
    seed: int = 0
    resamples: int = RESAMPLES


@dataclass(slots=True)
class _Stored:
    """What one pass over the predictions tells, without their numbers."""

    of_patient: list[tuple[UUID, UUID]]
    of_model: dict[str, list[UUID]]
    models: dict[str, ModelFingerprint]
    purposes: Counter[str]
    abstained: Counter[str]


def run_audit(auditor: Auditor, choices: Choices, say: Callable[[str], None]) -> Findings:
    """Go over everything; `say` is told what is being done."""
    say("Verifying the audit log …")
    report = auditor.log.verify()
    log, as_of, times = _read_log(auditor.open_unit_of_work, report)
    say("Reading the predictions …")
    stored = _read_predictions(auditor.open_unit_of_work)
    say("Recomputing a sample …")
    replayed = _replay(auditor.replays, stored, choices)
    say("Comparing with what happened …")
    judged = _judge(auditor.open_unit_of_work, stored)
    with auditor.open_unit_of_work() as uow:
        reviews = review_findings(uow, times)
    risks, quantities = _figures(judged, choices)
    return Findings(
        as_of=as_of,
        seed=choices.seed,
        resamples=choices.resamples,
        log=log,
        replay=replayed,
        num_patients=len({patient for patient, _ in stored.of_patient}),
        by_purpose=dict(sorted(stored.purposes.items())),
        by_model={
            f"{model.name} {model.version} ({digest[:12]})": len(stored.of_model[digest])
            for digest, model in sorted(stored.models.items())
        },
        abstained=dict(sorted(stored.abstained.items())),
        risks=risks,
        quantities=quantities,
        withheld=_withheld(judged),
        reviews=reviews,
        intake=auditor.intake(),
    )


def note_audit(auditor: Auditor, findings: Findings, report_digest: str, act: Act) -> None:
    """Write into the audit log that an audit was run, and what it found."""
    counts = findings.replay.counts
    entry = act.entry(
        auditor.identities.new(),
        AuditKind.AUDIT_RUN,
        report=report_digest,
        seed=findings.seed,
        size=findings.log.report.num_entries,
        sound=findings.log.report.is_sound,
        passed=findings.is_passed,
        **{f"recomputed_{replay.name.lower()}": count for replay, count in counts.items()},
    )
    with auditor.open_unit_of_work() as uow:
        uow.audit_log.append(entry)
        uow.commit()
    # A tree that is broken is evidence: nothing is built on top of it.
    if findings.log.report.is_sound:
        auditor.log.sequence()


def _read_log(
    open_unit_of_work: OpenUnitOfWork, report: LogReport
) -> tuple[LogFindings, datetime | None, ReviewTimes]:
    """One pass: what was done, and the head over all that came before the audits at the end."""
    frontier, times = Frontier(), ReviewTimes()
    kinds: Counter[str] = Counter()
    pending: list[AuditEntry] = []
    as_of, root = None, EMPTY_ROOT.hex()
    with open_unit_of_work() as uow:
        for _, entry, _ in uow.audit_log.sequenced():
            pending.append(entry)
            if entry.kind is AuditKind.AUDIT_RUN:
                continue
            for each in pending:
                frontier.append(each.leaf_hash)
                kinds[each.kind.value] += 1
                times.note(each)
            pending.clear()
            as_of = entry.at
    head = frontier.head()
    root = head.root.hex()
    findings = LogFindings(
        report=report, size=head.size, root=root, by_kind=dict(sorted(kinds.items()))
    )
    return findings, as_of, times


def _read_predictions(open_unit_of_work: OpenUnitOfWork) -> _Stored:
    stored = _Stored([], {}, {}, Counter(), Counter())
    with open_unit_of_work() as uow:
        for prediction in uow.predictions.all():
            request, forecast = prediction.request, prediction.forecast
            model = forecast.capsule.model
            stored.of_patient.append((request.patient_id, request.prediction_id))
            stored.models[model.manifest_digest] = model
            stored.of_model.setdefault(model.manifest_digest, []).append(request.prediction_id)
            stored.purposes[request.purpose.value] += 1
            if forecast.abstention is not None:
                stored.abstained[forecast.abstention.reason.value] += 1
    return stored


def _replay(service: ReplayService, stored: _Stored, choices: Choices) -> ReplayFindings:
    total = len(stored.of_patient)
    if not total or not choices.sample:
        return ReplayFindings(replayed=(), num_eligible=total, num_of_other_models=0)
    try:
        serving = service.models.fingerprint().manifest_digest
    except ClinicalError as error:
        return ReplayFindings(
            replayed=(),
            num_eligible=0,
            num_of_other_models=0,
            why_not=f"no model ({error.code})",
        )
    eligible = stored.of_model.get(serving, [])
    others = total - len(eligible)
    why_not = "" if eligible else "all predictions are of other models than the one that serves"
    chosen = sample_of(eligible, choices.sample, choices.seed)
    return ReplayFindings(
        replayed=tuple(replay(service, chosen)),
        num_eligible=len(eligible),
        num_of_other_models=others,
        why_not=why_not,
    )


def _judge(open_unit_of_work: OpenUnitOfWork, stored: _Stored) -> Judged:
    """Patient by patient, so that each timeline is loaded once and memory stays flat."""
    judged = Judged()
    for number, (patient_id, prediction_ids) in enumerate(
        group_by_patient(stored.of_patient).items()
    ):
        with open_unit_of_work() as uow:
            predictions = [uow.predictions.get(each) for each in prediction_ids]
            judged.add(predictions, uow.timelines.of(patient_id), number)
    return judged


def _figures(
    judged: Judged, choices: Choices
) -> tuple[tuple[RiskFindings, ...], tuple[QuantityFindings, ...]]:
    risks, quantities = [], []
    for subject, column in sorted(judged.risks.items()):
        probability, happened, patients = column.known()
        sampling = Sampling(patients=patients, seed=choices.seed, resamples=choices.resamples)
        figures = risk_figures(probability, happened, sampling)
        risks.append(RiskFindings(subject=subject, figures=figures, num_unknown=column.num_unknown))
    for subject, quantity in sorted(judged.quantities.items()):
        rows = quantity.known()
        sampling = Sampling(patients=rows.patient, seed=choices.seed, resamples=choices.resamples)
        quantities.append(
            QuantityFindings(
                subject=subject,
                figures=quantity_figures(
                    rows.median, rows.bands, rows.measured, rows.last_known, sampling
                ),
                num_unknown=quantity.num_unknown,
            )
        )
    return tuple(risks), tuple(quantities)


def _withheld(judged: Judged) -> tuple[WithheldShare, ...]:
    shares = []
    for place in sorted(judged.withheld.keys() | judged.answered.keys()):
        by_reason = judged.withheld.get(place, Counter())
        withheld = by_reason.total()
        shares.append(
            WithheldShare(
                name=place[0],
                horizon=place[2],
                withheld=withheld,
                asked=withheld + judged.answered[place],
                by_reason=dict(sorted(by_reason.items())),
            )
        )
    return tuple(shares)
