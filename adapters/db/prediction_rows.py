"""How a prediction is laid out in a row of `predictions`, both ways.

Numbers that a digest covers are kept as text: `repr` of a float comes back as the same bits, which
JSON in PostgreSQL does not promise (it has no negative zero).
"""

from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import RowMapping

from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.action import Action
from clinical.prediction.calibration import ReliabilityBin
from clinical.prediction.circumstances import Computation, Received
from clinical.prediction.horizon import Horizon
from clinical.prediction.prediction import Capsule, Forecast, ModelFingerprint, Prediction
from clinical.prediction.readout import Interval, Readout, ReadoutKind
from clinical.prediction.request import PredictionRequest, Purpose
from clinical.prediction.trajectory import LatentTrajectory
from clinical.timeline.code import Code
from clinical.timeline.event import EventKind, Phase
from clinical.timeline.quantity import Comparator, Quantity

Json = dict[str, Any]
Part = TypeVar("Part", Computation, Received)
_MICROSECOND = timedelta(microseconds=1)


def row_of(prediction: Prediction) -> Json:
    """The values of a row."""
    request, forecast = prediction.request, prediction.forecast
    capsule, abstention = forecast.capsule, forecast.abstention
    trajectory = forecast.trajectory
    return {
        "prediction_id": request.prediction_id,
        "patient_id": request.patient_id,
        "as_of": request.as_of,
        "received_by": request.received_by,
        "made_at": prediction.made_at,
        "purpose": request.purpose.value,
        "request": {
            "horizons": [_horizon(h) for h in request.horizons],
            "actions": [_action(a) for a in request.actions],
            "seed": request.seed,
        },
        "input_digest": capsule.input_digest,
        "config_digest": capsule.config_digest,
        "manifest_digest": capsule.model.manifest_digest,
        "capsule": {
            "name": capsule.model.name,
            "version": capsule.model.version,
            "vocabulary_digest": capsule.model.vocabulary_digest,
            "code_version": capsule.code_version,
            "torch_version": capsule.torch_version,
            "device": capsule.device,
            "seed": capsule.seed,
            "num_events": capsule.num_events,
            "computation": _part(capsule.computation),
            "received": _part(capsule.received),
        },
        "trajectory": None if trajectory is None else _trajectory(trajectory),
        "latents": None if trajectory is None else trajectory.data,
        "state": None if trajectory is None else trajectory.state,
        "readouts": [_readout(r) for r in forecast.readouts],
        "abstention_reason": None if abstention is None else abstention.reason.value,
        "abstention_detail": None if abstention is None else abstention.detail,
        "familiarity": forecast.familiarity,
        "unseen_code_share": forecast.unseen_code_share,
        "output_digest": forecast.output_digest,
    }


def prediction_of(row: RowMapping) -> Prediction:
    """The prediction of a row with all columns."""
    asked = row["request"]
    request = PredictionRequest(
        prediction_id=row["prediction_id"],
        patient_id=row["patient_id"],
        as_of=row["as_of"],
        received_by=row["received_by"],
        purpose=Purpose(row["purpose"]),
        horizons=tuple(_to_horizon(h) for h in asked["horizons"]),
        actions=tuple(_to_action(a) for a in asked["actions"]),
        seed=asked["seed"],
    )
    made_at: datetime = row["made_at"]
    return Prediction(request=request, forecast=_forecast_of(row), made_at=made_at)


def _forecast_of(row: RowMapping) -> Forecast:
    reason = row["abstention_reason"]
    return Forecast(
        trajectory=_to_trajectory(row),
        readouts=tuple(_to_readout(r) for r in row["readouts"]),
        abstention=None
        if reason is None
        else Abstention(AbstentionReason(reason), row["abstention_detail"]),
        familiarity=row["familiarity"],
        unseen_code_share=row["unseen_code_share"],
        capsule=_capsule_of(row),
    )


def _capsule_of(row: RowMapping) -> Capsule:
    stored = row["capsule"]
    model = ModelFingerprint(
        name=stored["name"],
        version=stored["version"],
        manifest_digest=row["manifest_digest"],
        vocabulary_digest=stored["vocabulary_digest"],
    )
    return Capsule(
        input_digest=row["input_digest"],
        config_digest=row["config_digest"],
        model=model,
        code_version=stored["code_version"],
        torch_version=stored["torch_version"],
        device=stored["device"],
        seed=stored["seed"],
        num_events=stored["num_events"],
        computation=_to_part(Computation, stored.get("computation")),
        received=_to_part(Received, stored.get("received")),
    )


def _part(part: Computation | Received | None) -> Json | None:
    return None if part is None else asdict(part)


def _to_part(kind: type[Part], stored: Json | None) -> Part | None:
    """None in rows from before this was recorded; what a part did not hold then is as its default."""
    return None if stored is None else kind(**stored)


def _horizon(horizon: Horizon) -> list[int | None]:
    end = None if horizon.end is None else horizon.end // _MICROSECOND
    return [horizon.start // _MICROSECOND, end]


def _to_horizon(bounds: list[int | None]) -> Horizon:
    start, end = bounds
    assert start is not None
    return Horizon(start * _MICROSECOND, None if end is None else end * _MICROSECOND)


def _code(code: Code | None) -> list[str] | None:
    return None if code is None else [code.system, code.value, code.display]


def _action(action: Action) -> Json:
    dose = action.dose
    return {
        "kind": action.kind.value,
        "code": _code(action.code),
        "after": action.after // _MICROSECOND,
        "dose": None
        if dose is None
        else [str(dose.value), dose.unit, dose.unit_text, dose.comparator],
        "phase": action.phase.value,
    }


def _to_action(stored: Json) -> Action:
    dose = stored["dose"]
    if dose is not None:
        comparator = None if dose[3] is None else Comparator(dose[3])
        dose = Quantity(Decimal(dose[0]), dose[1], dose[2], comparator)
    return Action(
        kind=EventKind(stored["kind"]),
        code=Code(*stored["code"]),
        after=stored["after"] * _MICROSECOND,
        dose=dose,
        phase=Phase(stored.get("phase", Phase.POINT)),
    )


def _trajectory(trajectory: LatentTrajectory) -> Json:
    return {
        "horizons": [_horizon(h) for h in trajectory.horizons],
        "width": trajectory.width,
        "spread": [repr(s) for s in trajectory.spread],
        "noise": [repr(n) for n in trajectory.noise],
    }


def _to_trajectory(row: RowMapping) -> LatentTrajectory | None:
    stored = row["trajectory"]
    if stored is None:
        return None
    return LatentTrajectory(
        horizons=tuple(_to_horizon(h) for h in stored["horizons"]),
        width=stored["width"],
        data=row["latents"],
        spread=tuple(float(s) for s in stored["spread"]),
        state=row["state"],
        noise=tuple(float(n) for n in stored.get("noise", ())),
    )


def _readout(readout: Readout) -> Json:
    abstention, reliability = readout.abstention, readout.reliability
    return {
        "name": readout.name,
        "kind": readout.kind.value,
        "horizon": _horizon(readout.horizon),
        "code": _code(readout.code),
        "unit": readout.unit,
        "estimate": None if readout.estimate is None else repr(readout.estimate),
        "intervals": [[repr(i.low), repr(i.high), repr(i.level)] for i in readout.intervals],
        "calibration_id": readout.calibration_id,
        "reliability": None
        if reliability is None
        else [repr(reliability.mean_predicted), repr(reliability.observed), reliability.count],
        "evidence": [str(event_id) for event_id in readout.evidence],
        "abstention": None if abstention is None else [abstention.reason.value, abstention.detail],
    }


def _to_readout(stored: Json) -> Readout:
    reliability, abstention = stored["reliability"], stored["abstention"]
    return Readout(
        name=stored["name"],
        kind=ReadoutKind(stored["kind"]),
        horizon=_to_horizon(stored["horizon"]),
        code=None if stored["code"] is None else Code(*stored["code"]),
        unit=stored["unit"],
        estimate=None if stored["estimate"] is None else float(stored["estimate"]),
        intervals=tuple(Interval(*(float(n) for n in i)) for i in stored["intervals"]),
        calibration_id=stored["calibration_id"],
        reliability=None
        if reliability is None
        else ReliabilityBin(float(reliability[0]), float(reliability[1]), reliability[2]),
        evidence=tuple(UUID(event_id) for event_id in stored["evidence"]),
        abstention=None
        if abstention is None
        else Abstention(AbstentionReason(abstention[0]), abstention[1]),
    )
