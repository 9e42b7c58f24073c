"""What a model says is either a number with its uncertainty or an abstention with its reason."""

import math
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.action import Action
from clinical.prediction.calibration import PlattCalibration
from clinical.prediction.horizon import UNTIL_DISCHARGE, Horizon, ImpossibleHorizonError
from clinical.prediction.prediction import Capsule, Forecast, ModelFingerprint, Prediction
from clinical.prediction.readout import Interval, Readout, ReadoutKind, UnansweredReadoutError
from clinical.prediction.request import PredictionRequest
from clinical.prediction.trajectory import LatentTrajectory, MalformedTrajectoryError
from clinical.review.decision import Decision, Verdict
from clinical.review.writeback import may_be_written_back
from clinical.services.prediction import priority_of
from clinical.timeline.event import EventKind
from tests.clinical.builders import GLUCOSE

NOW = datetime(2024, 5, 1, tzinfo=UTC)
YEAR = Horizon(timedelta(0), timedelta(days=365))
WITHHELD = Abstention(AbstentionReason.TOO_FEW_EVENTS, "fewer than ten events")


def readout(estimate: float | None = 0.2, **changes: object) -> Readout:
    fields = {
        "name": "emergency encounter",
        "kind": ReadoutKind.PROBABILITY,
        "horizon": YEAR,
        "estimate": estimate,
        "intervals": (Interval(0.1, 0.3, 0.9),),
    }
    return Readout(**(fields | changes))  # type: ignore[arg-type]


def forecast(**changes: object) -> Forecast:
    model = ModelFingerprint(name="m", version="1", manifest_digest="a", vocabulary_digest="b")
    capsule = Capsule(
        input_digest="i",
        config_digest="c",
        model=model,
        code_version="1",
        torch_version="2",
        device="cpu",
        seed=0,
        num_events=3,
    )
    fields = {
        "trajectory": LatentTrajectory((YEAR,), 2, struct.pack("<2f", 1, 2), (0.1,)),
        "readouts": (readout(),),
        "abstention": None,
        "familiarity": 0.4,
        "unseen_code_share": 0.0,
        "capsule": capsule,
    }
    return Forecast(**(fields | changes))  # type: ignore[arg-type]


def request(**changes: object) -> PredictionRequest:
    fields = {
        "prediction_id": UUID(int=1),
        "patient_id": UUID(int=2),
        "as_of": NOW,
        "received_by": NOW,
    }
    return PredictionRequest(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "end", "label"),
    [(0, 7 * 24, "0-7 d"), (90 * 24, 365 * 24, "90-365 d"), (6, 24, "6-24 h"), (0, 6, "0-6 h")],
)
def test_a_horizon_has_a_label_in_the_unit_it_is_whole_in(start: int, end: int, label: str) -> None:
    assert Horizon(timedelta(hours=start), timedelta(hours=end)).label == label


def test_a_horizon_without_an_end_is_until_discharge_and_stands_after_all_others() -> None:
    assert UNTIL_DISCHARGE.label == "until discharge"
    later = Horizon(timedelta(hours=6), None)
    assert later.label == "after 6 h until discharge"
    assert sorted([UNTIL_DISCHARGE, YEAR, later], key=lambda h: h.order) == [
        YEAR,
        later,
        UNTIL_DISCHARGE,
    ]


@pytest.mark.parametrize(("start", "end"), [(1, 1), (2, 1), (-1, 1)])
def test_an_empty_or_past_horizon_is_refused(start: int, end: int) -> None:
    with pytest.raises(ImpossibleHorizonError):
        Horizon(timedelta(days=start), timedelta(days=end))


def test_a_readout_is_answered_or_withheld_never_both_never_neither() -> None:
    assert readout(None, intervals=(), abstention=WITHHELD).estimate is None
    for wrong in ({"abstention": WITHHELD}, {"intervals": ()}):
        with pytest.raises(UnansweredReadoutError):
            readout(**wrong)
    with pytest.raises(UnansweredReadoutError):
        readout(None)


@pytest.mark.parametrize(("data", "spread"), [(b"\0" * 7, (0.1,)), (b"\0" * 8, ())])
def test_latents_that_do_not_fit_their_shape_are_refused(
    data: bytes, spread: tuple[float, ...]
) -> None:
    with pytest.raises(MalformedTrajectoryError):
        LatentTrajectory((YEAR,), 2, data, spread)


def test_the_noise_of_a_trajectory_is_said_for_every_horizon_or_for_none() -> None:
    data = struct.pack("<2f", 1, 2)
    assert LatentTrajectory((YEAR,), 2, data, (0.1,), noise=(0.2,)).noise == (0.2,)
    with pytest.raises(MalformedTrajectoryError):
        LatentTrajectory((YEAR,), 2, data, (0.1,), noise=(0.2, 0.3))


@given(slope=st.floats(0.1, 5), intercept=st.floats(-3, 3), logit=st.floats(-50, 50))
def test_platt_gives_a_probability_that_rises_with_the_score(
    slope: float, intercept: float, logit: float
) -> None:
    platt = PlattCalibration(
        calibration_id="c", slope=slope, intercept=intercept, num_patients=100, num_outcomes=20
    )
    probability = platt.probability(logit)
    assert 0 <= probability <= 1
    assert platt.probability(logit + 1) >= probability
    z = slope * logit + intercept
    assert math.isclose(probability, (1 + math.tanh(z / 2)) / 2, abs_tol=1e-12)


def test_the_output_digest_sees_every_number_and_every_reason() -> None:
    wider = replace(readout(), intervals=(Interval(0.1, 0.31, 0.9),))
    withheld = readout(None, intervals=(), abstention=WITHHELD)
    latents = LatentTrajectory((YEAR,), 2, struct.pack("<2f", 1, 2.0000002), (0.1,))
    variants = [
        forecast(),
        forecast(readouts=(readout(0.2000000001),)),
        forecast(readouts=(wider,)),
        forecast(readouts=(withheld,)),
        forecast(trajectory=latents),
        forecast(trajectory=None),
        forecast(readouts=(), abstention=WITHHELD),
    ]
    assert len({variant.output_digest for variant in variants}) == len(variants)
    assert forecast().output_digest == forecast().output_digest


def test_the_config_digest_sees_horizons_plan_and_seed() -> None:
    action = Action(kind=EventKind.PROCEDURE, code=GLUCOSE, after=timedelta(hours=1))
    variants = [request(), request(horizons=(YEAR,)), request(actions=(action,)), request(seed=1)]
    assert len({variant.config_digest for variant in variants}) == len(variants)


def test_only_what_was_said_and_agreed_with_may_be_written_back() -> None:
    said = Prediction(request=request(), forecast=forecast(), made_at=NOW)
    silent = Prediction(
        request=request(), forecast=forecast(readouts=(), abstention=WITHHELD), made_at=NOW
    )

    def decided(verdict: Verdict) -> Decision:
        return Decision(
            decision_id=UUID(int=1),
            review_id=UUID(int=2),
            verdict=verdict,
            reasons=(),
            note="",
            decided_by="anna",
            decided_at=NOW,
            prediction_digest="d",
        )

    assert {v for v in Verdict if may_be_written_back(said, decided(v))} == {
        Verdict.AGREE,
        Verdict.AGREE_WITH_CHANGES,
    }
    assert silent.is_abstained
    assert not may_be_written_back(silent, decided(Verdict.AGREE))


def test_the_worklist_puts_the_highest_calibrated_risk_first() -> None:
    withheld = readout(None, intervals=(), abstention=WITHHELD)
    quantity = readout(140, kind=ReadoutKind.QUANTITY)
    assert priority_of(forecast(readouts=(readout(0.2), readout(0.4), quantity, withheld))) == 0.4
    assert priority_of(forecast(readouts=(withheld,))) == 0
