"""A prediction as the page shows it: risks, courses of quantities, the latent course, evidence.

Knows how domain values become published shapes. Computes nothing that the model did not say, except
distances between the latents that it gave.
"""

import math
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from adapters.http import schemas
from adapters.http.facts import event_label, fact_of, patient_of
from adapters.http.feedback_schemas import feedback_of
from adapters.http.notice_schemas import WarningShape
from adapters.http.notices import stale_of
from clinical.prediction.abstention import Abstention
from clinical.prediction.horizon import Horizon
from clinical.prediction.prediction import Forecast, Prediction
from clinical.prediction.readout import Readout, ReadoutKind
from clinical.prediction.trajectory import LatentTrajectory
from clinical.review.card import CardFeedback
from clinical.review.decision import Decision
from clinical.review.review import Review
from clinical.timeline.code import Code
from clinical.timeline.event import Event
from clinical.timeline.quantity import Quantity
from clinical.timeline.timeline import Timeline

_MAX_MEASUREMENTS = 60
_HOUR = timedelta(hours=1)


def item_of(
    status: schemas.ReviewStatus,
    prediction: Prediction,
    timeline: Timeline,
    decision: Decision | None,
    warnings: Sequence[WarningShape],
    feedback: Sequence[CardFeedback] = (),
) -> schemas.ReviewItem:
    """All of an item; `timeline` is what the prediction saw."""
    forecast, request = prediction.forecast, prediction.request
    return schemas.ReviewItem(
        review=status,
        patient=patient_of(timeline.events, request.as_of),
        as_of=request.as_of,
        num_events=len(timeline),
        withheld=withheld_of(forecast.abstention),
        risks=_risks(forecast),
        quantities=_quantities(forecast, timeline),
        trajectory=_trajectory(forecast.trajectory),
        familiarity=schemas.Familiarity(
            distance=forecast.familiarity, unseen_code_share=forecast.unseen_code_share
        ),
        evidence=_evidence(forecast.readouts, timeline),
        capsule=_capsule(prediction),
        decision=None if decision is None else decision_of(decision),
        stale=stale_of(warnings),
        warnings=list(warnings),
        card_feedback=[feedback_of(each) for each in feedback],
    )


def line_of(
    status: schemas.ReviewStatus,
    prediction: Prediction,
    static_facts: Iterable[Event],
    warnings: Sequence[WarningShape],
) -> schemas.WorklistLine:
    """A line of the worklist, from the highest risk that was said."""
    request, forecast = prediction.request, prediction.forecast
    facts = Timeline.of(request.patient_id, static_facts)
    known = facts.cut(request.as_of, received_by=request.received_by)
    first = headline(forecast)
    withheld = forecast.abstention or (first.abstention if first else None)
    return schemas.WorklistLine(
        review=status,
        patient=patient_of(known.events, request.as_of),
        as_of=request.as_of,
        headline=words_of(first.name) if first else None,
        horizon=window_of(first.horizon) if first else None,
        estimate=first.estimate if first else None,
        withheld=withheld_of(withheld),
        warnings=list(warnings),
    )


def headline(forecast: Forecast) -> Readout | None:
    """The risk that a worklist line speaks of: the highest said, else the first withheld."""
    risks = [r for r in forecast.readouts if r.kind is ReadoutKind.PROBABILITY]
    return max(risks, key=lambda r: -1.0 if r.estimate is None else r.estimate, default=None)


def status_of(review: Review, who: str, now: datetime) -> schemas.ReviewStatus:
    """Where a review stands, seen by `who` at `now`."""
    holder = review.holder(now)
    return schemas.ReviewStatus(
        review_id=review.review_id,
        state=review.state,
        version=review.version,
        priority=review.priority,
        opened_at=review.opened_at,
        held_by=holder,
        held_until=review.claimed_until if holder else None,
        is_mine=holder == who,
        closed_at=review.closed_at,
        closed_reason=review.closed_reason,
    )


def decision_of(decision: Decision) -> schemas.DecisionShape:
    """A decision as it is published."""
    return schemas.DecisionShape(
        decision_id=decision.decision_id,
        verdict=decision.verdict,
        reasons=list(decision.reasons),
        note=decision.note,
        decided_by=decision.decided_by,
        decided_at=decision.decided_at,
        prediction_digest=decision.prediction_digest,
        digest=decision.digest,
    )


def _risks(forecast: Forecast) -> list[schemas.RiskCourse]:
    courses: defaultdict[str, list[Readout]] = defaultdict(list)
    for readout in forecast.readouts:
        if readout.kind is ReadoutKind.PROBABILITY:
            courses[readout.name].append(readout)
    return [
        schemas.RiskCourse(name=name, label=words_of(name), estimates=estimates_of(readouts))
        for name, readouts in courses.items()
    ]


def _quantities(forecast: Forecast, timeline: Timeline) -> list[schemas.QuantityCourse]:
    courses: defaultdict[str, list[Readout]] = defaultdict(list)
    for readout in forecast.readouts:
        if readout.kind is ReadoutKind.QUANTITY:
            courses[readout.name].append(readout)
    return [_course(name, readouts, timeline) for name, readouts in courses.items()]


def _course(name: str, readouts: list[Readout], timeline: Timeline) -> schemas.QuantityCourse:
    first = readouts[0]
    events = _measurements(first.code, timeline) if first.code else []
    drawn = [m for m in (_measurement(e, first.unit) for e in events) if m is not None]
    drawn.sort(key=lambda measured: measured.at)
    return schemas.QuantityCourse(
        name=name,
        label=event_label(events[-1]) if events else _without_property(words_of(name)),
        code=first.code.key if first.code else "",
        unit=first.unit,
        measured=drawn[-_MAX_MEASUREMENTS:],
        num_older=max(len(drawn) - _MAX_MEASUREMENTS, 0),
        num_in_other_units=len(events) - len(drawn),
        estimates=estimates_of(readouts),
    )


def _measurements(code: Code, timeline: Timeline) -> list[Event]:
    return [
        event
        for event in timeline.events
        if isinstance(event.value, Quantity)
        and (event.code.key == code.key or any(o.key == code.key for o in event.other_codes))
    ]


def _measurement(event: Event, unit: str) -> schemas.Measurement | None:
    """A value that can be drawn on the axis, or None: another unit, or no known moment."""
    value = event.value
    if not isinstance(value, Quantity) or value.unit != unit or event.occurred_at is None:
        return None
    return schemas.Measurement(
        event_id=event.event_id,
        at=event.occurred_at.earliest,
        value=float(value.value),
        comparator=value.comparator,
    )


def estimates_of(readouts: list[Readout]) -> list[schemas.Estimate]:
    """Windows in the order in which they end; one that spans others stands after its last part."""
    ordered = sorted(readouts, key=lambda r: r.horizon.order)
    return [_estimate(readout) for readout in ordered]


def _estimate(readout: Readout) -> schemas.Estimate:
    fitted = readout.reliability
    return schemas.Estimate(
        name=readout.name,
        kind=readout.kind,
        horizon=window_of(readout.horizon),
        estimate=readout.estimate,
        intervals=[
            schemas.IntervalShape(low=i.low, high=i.high, level=i.level)
            for i in sorted(readout.intervals, key=lambda i: i.level)
        ],
        calibration_id=readout.calibration_id,
        reliability=None
        if fitted is None
        else schemas.Reliability(
            observed=fitted.observed, count=fitted.count, mean_predicted=fitted.mean_predicted
        ),
        evidence=list(readout.evidence),
        withheld=withheld_of(readout.abstention),
    )


def _trajectory(trajectory: LatentTrajectory | None) -> schemas.Trajectory | None:
    if trajectory is None:
        return None
    latents = _latents(trajectory)
    steps = [
        schemas.LatentStep(
            horizon=window_of(horizon),
            norm=_rms(latent),
            movement=_rms([a - b for a, b in zip(latent, latents[0], strict=True)]),
            spread=spread,
        )
        for horizon, latent, spread in zip(
            trajectory.horizons, latents, trajectory.spread, strict=True
        )
    ]
    return schemas.Trajectory(width=trajectory.width, digest=trajectory.digest, steps=steps)


def _latents(trajectory: LatentTrajectory) -> list[list[float]]:
    width = trajectory.width
    numbers = struct.unpack(f"<{len(trajectory.data) // 4}f", trajectory.data)
    return [list(numbers[k * width : (k + 1) * width]) for k in range(len(trajectory.horizons))]


def _rms(numbers: list[float]) -> float:
    """The root mean square."""
    return math.sqrt(math.fsum(n * n for n in numbers) / len(numbers)) if numbers else 0.0


def _evidence(readouts: Iterable[Readout], timeline: Timeline) -> list[schemas.Evidence]:
    """The facts that any readout leans on, the one known last first."""
    supports: defaultdict[UUID, dict[str, None]] = defaultdict(dict)
    for readout in readouts:
        for event_id in readout.evidence:
            supports[event_id][readout.name] = None
    found = [known for known in timeline.standing if known.event.event_id in supports]
    return [
        schemas.Evidence(fact=fact_of(known), supports=list(supports[known.event.event_id]))
        for known in reversed(found)
    ]


def _capsule(prediction: Prediction) -> schemas.CapsuleShape:
    capsule, forecast = prediction.forecast.capsule, prediction.forecast
    received = capsule.received
    return schemas.CapsuleShape(
        prediction_id=prediction.request.prediction_id,
        digest=capsule.digest,
        grade=capsule.grade,
        made_at=prediction.made_at,
        input_digest=capsule.input_digest,
        output_digest=forecast.output_digest,
        config_digest=capsule.config_digest,
        model=schemas.Model(
            name=capsule.model.name,
            version=capsule.model.version,
            manifest_digest=capsule.model.manifest_digest,
            vocabulary_digest=capsule.model.vocabulary_digest,
        ),
        code_version=capsule.code_version,
        torch_version=capsule.torch_version,
        device=capsule.device,
        seed=capsule.seed,
        num_events=capsule.num_events,
        num_records=None if received is None else received.num_records,
        num_deliveries=None if received is None else received.num_deliveries,
    )


def withheld_of(abstention: Abstention | None) -> schemas.WithheldReason | None:
    """Why nothing is said, or None where something is."""
    if abstention is None:
        return None
    return schemas.WithheldReason(reason=abstention.reason, detail=abstention.detail)


def window_of(horizon: Horizon) -> schemas.HorizonWindow:
    """A window as it is published."""
    return schemas.HorizonWindow(
        label=horizon.label,
        start_hours=horizon.start / _HOUR,
        end_hours=None if horizon.end is None else horizon.end / _HOUR,
    )


def _without_property(name: str) -> str:
    """LOINC's long names say in brackets which property is measured; the unit says that too."""
    return name.partition(" [")[0]


def words_of(name: str) -> str:
    """`new_condition` as `New condition`."""
    return name.replace("_", " ").capitalize()
