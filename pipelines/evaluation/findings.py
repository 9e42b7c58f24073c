"""What an audit found, as values: the report and the summary are two ways to show them.

No patient data: predictions are named by their ids alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from clinical.prediction.replay import Replay
from clinical.services.audit import LogReport
from pipelines.evaluation.figures import Figure
from pipelines.evaluation.metrics import RiskFigures
from pipelines.evaluation.outcomes import Subject
from pipelines.evaluation.quantities import QuantityFigures
from pipelines.evaluation.recomputation import Replayed


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFindings:
    """The audit log: `report` is of all of it, `size` and `root` of what came before this audit.

    Entries of audits at the very end are left out of `size` and `root`, so that auditing the same
    data again says the same.
    """

    report: LogReport
    size: int
    root: str
    by_kind: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFindings:
    """The recomputed sample; `why_not` says why nothing was asked again, if so.

    `num_eligible` were made by the model that serves now, `num_of_other_models` were not and cannot
    be asked again of it.
    """

    replayed: tuple[Replayed, ...]
    num_eligible: int
    num_of_other_models: int
    why_not: str = ""

    @property
    def counts(self) -> dict[Replay, int]:
        """How many answers compare how."""
        kinds = [each.replay for each in self.replayed]
        return {replay: kinds.count(replay) for replay in Replay}

    @property
    def are_all_equal(self) -> bool:
        """Whether every answer came back the same, or near enough on another device."""
        same = {Replay.EQUAL, Replay.WITHIN_TOLERANCE}
        return not self.why_not and all(each.replay in same for each in self.replayed)


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskFindings:
    """One probability within one horizon."""

    subject: Subject
    figures: RiskFigures
    num_unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityFindings:
    """One quantity within one horizon."""

    subject: Subject
    figures: QuantityFigures
    num_unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WithheldShare:
    """How often a readout was withheld within a horizon, and why."""

    name: str
    horizon: str
    withheld: int
    asked: int
    by_reason: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A duration's middle and quartiles, in seconds, over `n` reviews."""

    n: int
    median: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFindings:
    """What clinicians did with the predictions."""

    by_state: Mapping[str, int]
    by_verdict: Mapping[str, int]
    by_reason: Mapping[str, int]
    override: Figure
    to_claim: Spread
    to_sign: Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeFindings:
    """What came in and could not, or not wholly, be understood."""

    num_deliveries: int
    quarantined: Mapping[str, int]  # by reason
    unmapped_systems: Mapping[str, int]
    unmapped_units: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything. `as_of` is the last change that is no audit itself; None for an empty service."""

    as_of: datetime | None
    seed: int
    resamples: int
    log: LogFindings
    replay: ReplayFindings
    num_patients: int
    by_purpose: Mapping[str, int]
    by_model: Mapping[str, int]
    abstained: Mapping[str, int]  # whole predictions, by reason
    risks: tuple[RiskFindings, ...]
    quantities: tuple[QuantityFindings, ...]
    withheld: tuple[WithheldShare, ...]
    reviews: ReviewFindings
    intake: IntakeFindings

    @property
    def num_predictions(self) -> int:
        """How many predictions are stored."""
        return sum(self.by_purpose.values())

    @property
    def is_passed(self) -> bool:
        """Whether the log is sound and everything recomputed came back the same."""
        return self.log.report.is_sound and self.replay.are_all_equal

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        return f"{log_sentence(self.log)} {_replay_sentence(self.replay)}"


def log_sentence(log: LogFindings) -> str:
    """Whether the log is sound, and where it is not."""
    report = log.report
    if report.is_sound:
        return f"The audit log is sound over {log.size:,} entries."
    if report.first_bad_index is not None:
        if report.first_bad_index >= report.num_entries:
            return (
                f"The audit log is NOT sound: entries from index {report.first_bad_index:,} on are "
                f"missing; a signed head tells of {max(report.bad_head_sizes):,}."
            )
        return (
            f"The audit log is NOT sound: the first bad entry has index {report.first_bad_index:,}."
        )
    if not report.bad_head_sizes:
        return f"The audit log is NOT sound: {_bad_storage(report)}."
    first = min(report.bad_head_sizes)
    return (
        f"The audit log is NOT sound: the head over {first:,} entries is not that of its leaves, so "
        f"one of the entries below index {first:,} was replaced."
    )


def _bad_storage(report: LogReport) -> str:
    payloads = report.payloads
    if report.num_bad_nodes:
        return f"{report.num_bad_nodes:,} stored nodes of its tree are not what is below them"
    if payloads.bad:
        return f"{len(payloads.bad):,} entries vouch for something else than what is stored"
    return (
        f"{payloads.num_without_salt:,} entries cannot be opened any more, and erasures tell of "
        f"{payloads.num_erased:,} only"
    )


def _replay_sentence(findings: ReplayFindings) -> str:
    if findings.why_not:
        return f"Nothing was recomputed: {findings.why_not}."
    total, counts = len(findings.replayed), findings.counts
    if not total:
        return "No prediction was recomputed."
    if findings.are_all_equal:
        near = counts[Replay.WITHIN_TOLERANCE]
        aside = f" ({near} of them within tolerance, elsewhere)" if near else ""
        return f"All {total:,} recomputed predictions came back equal{aside}."
    said = ", ".join(
        f"{count} {replay.value}"
        for replay, count in counts.items()
        if count and replay not in {Replay.EQUAL, Replay.WITHIN_TOLERANCE}
    )
    return f"Of {total:,} recomputed predictions NOT all came back equal: {said}."
