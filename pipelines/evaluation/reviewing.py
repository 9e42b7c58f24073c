"""What clinicians did with the predictions: verdicts, overrides, and how long it took.

Durations are read from the audit log, which nobody can edit unseen, not from the reviews.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from clinical.audit.entry import AuditEntry, AuditKind
from clinical.review.decision import Verdict
from clinical.review.review import Review, ReviewState
from clinical.services.ports import Reviews, UnitOfWork, WorklistQuery
from pipelines.evaluation.figures import MIN_EVENTS, Figure, Sampling, insufficient, proportion
from pipelines.evaluation.findings import ReviewFindings, Spread

_PAGE = 500


@dataclass(slots=True)
class ReviewTimes:
    """When each review was opened, first claimed and signed; fed with audit entries in order."""

    opened: dict[str, datetime] = field(default_factory=dict)
    claimed: dict[str, datetime] = field(default_factory=dict)
    signed: dict[str, datetime] = field(default_factory=dict)

    def note(self, entry: AuditEntry) -> None:
        """Take note of an entry, whatever it is about."""
        moments = {
            AuditKind.REVIEW_OPENED: self.opened,
            AuditKind.REVIEW_CLAIMED: self.claimed,
            AuditKind.REVIEW_SIGNED: self.signed,
        }.get(entry.kind)
        if moments is not None:
            moments.setdefault(entry.refs.get("review", ""), entry.at)

    def to_claim(self) -> Spread:
        """From opened to first claimed."""
        return _spread(self.opened, self.claimed)

    def to_sign(self) -> Spread:
        """From first claimed to signed."""
        return _spread(self.claimed, self.signed)


def review_findings(uow: UnitOfWork, times: ReviewTimes) -> ReviewFindings:
    """Counts over all reviews, and the share of decisions that disagree."""
    states: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    judged: list[tuple[bytes, bool]] = []
    for review in all_reviews(uow.reviews):
        states[review.state.value] += 1
        decision = uow.reviews.decision(review.review_id) if review.closed_at else None
        if decision is None:
            continue
        verdicts[decision.verdict.value] += 1
        reasons.update(reason.value for reason in decision.reasons)
        if decision.verdict is not Verdict.CANNOT_ASSESS:
            judged.append((review.patient_id.bytes, decision.verdict is Verdict.DISAGREE))
    return ReviewFindings(
        by_state=_sorted(states),
        by_verdict=_sorted(verdicts),
        by_reason=_sorted(reasons),
        override=_override(judged),
        to_claim=times.to_claim(),
        to_sign=times.to_sign(),
    )


def all_reviews(reviews: Reviews) -> Iterator[Review]:
    """Every review, in the order of the worklist."""
    after = None
    while True:
        query = WorklistQuery(states=frozenset(ReviewState), after=after, limit=_PAGE)
        page = reviews.worklist(query)
        yield from page
        if len(page) < _PAGE:
            return
        after = (page[-1].priority, page[-1].review_id)


def _override(judged: list[tuple[bytes, bool]]) -> Figure:
    patients = np.unique([patient for patient, _ in judged], return_inverse=True)[1]
    sampling = Sampling(patients=patients.astype(np.int64))
    disagreed = np.array([disagrees for _, disagrees in judged], dtype=np.bool_)
    if len(judged) < MIN_EVENTS:
        why_not = f"only {len(judged)} judgements"
        return insufficient(sampling, why_not, events=int(disagreed.sum()))
    return proportion(disagreed, sampling)


def _spread(since: dict[str, datetime], until: dict[str, datetime]) -> Spread:
    seconds = [
        (until[review] - since[review]).total_seconds()
        for review in sorted(until)
        if review in since
    ]
    if not seconds:
        return Spread(n=0)
    low, median, high = (float(q) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return Spread(n=len(seconds), median=median, low=low, high=high)


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
