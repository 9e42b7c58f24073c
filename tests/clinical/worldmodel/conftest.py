"""A small model for the tests of the room: untrained, seeded, and calibrated by hand where needed."""

import math

import pytest
import torch

from clinical.prediction.calibration import (
    ConformalCalibration,
    PlattCalibration,
    ReliabilityBin,
)
from clinical.prediction.prediction import ModelFingerprint
from clinical.worldmodel.calibrated import Calibration, Familiarity, QuantityCalibration
from clinical.worldmodel.config import AbstentionLimits, ModelConfig
from clinical.worldmodel.families import FORETOLD
from clinical.worldmodel.fitting import FitConfig, fit
from clinical.worldmodel.inference import Inference
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.tensorize import Tensorizer
from clinical.worldmodel.vocabulary import Vocabulary
from tests.clinical.worldmodel.patients import made_up

FACTORS = {("g", "kg"): 0.001, ("[lb_av]", "kg"): 0.45359237, ("kPa", "mm[Hg]"): 7.50061575846}
SMALL = ModelConfig(width=16, latent=16, num_buckets=64, projector_width=32, max_actions=4)


def convert(unit: str, to: str) -> tuple[float, float] | None:
    """The few conversions that the tests need."""
    factor = FACTORS.get((unit, to))
    return None if factor is None else (factor, 0.0)


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    config = FitConfig(min_own_bins=100, min_forecast_values=50, num_buckets=SMALL.num_buckets)
    timelines = [made_up(number) for number in range(40)]
    return fit(timelines, convert, common_units=("g", "[lb_av]", "kPa"), config=config)


@pytest.fixture(scope="session")
def tensorizer(vocabulary: Vocabulary) -> Tensorizer:
    return Tensorizer(vocabulary)


@pytest.fixture(scope="session")
def model(vocabulary: Vocabulary) -> Jepa:
    built = Jepa(SMALL, vocabulary)
    initialise(built, torch.Generator().manual_seed(11))
    with torch.no_grad():
        built.readouts.rates.weight.mul_(20)  # untrained risks hardly differ between patients
    return built.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="session")
def calibration(vocabulary: Vocabulary) -> Calibration:
    """As if enough patients had been set aside: every readout may speak."""
    horizons = (*SMALL.horizons, SMALL.whole)
    reliability = (ReliabilityBin(0.1, 0.12, 20), ReliabilityBin(0.6, 0.5, 20))
    platt = {
        f"{risk}|{horizon.label}": PlattCalibration(
            calibration_id=f"test/{risk}",
            slope=0.9,
            intercept=0.1,
            num_patients=40,
            num_outcomes=20,
            reliability=reliability,
        )
        for risk in FORETOLD
        for horizon in horizons
    }
    quantities = {
        f"{code}|{horizon.label}": QuantityCalibration(
            intervals=tuple(
                ConformalCalibration(
                    calibration_id="test/q", level=level, offset=0.5, num_patients=40
                )
                for level in (0.9, 0.5)
            ),
            population_width=math.inf,
        )
        for code in vocabulary.numeric
        for horizon in SMALL.horizons
    }
    eye = tuple(tuple(float(i == j) for j in range(SMALL.width)) for i in range(SMALL.width))
    familiarity = Familiarity(mean=(0.0,) * SMALL.width, whitening=eye, limit=1e6)
    return Calibration(probabilities=platt, quantities=quantities, familiarity=familiarity)


@pytest.fixture(scope="session")
def inference(model: Jepa, tensorizer: Tensorizer, calibration: Calibration) -> Inference:
    return Inference(
        model=model,
        tensorizer=tensorizer,
        calibration=calibration,
        limits=AbstentionLimits(max_unseen_code_share=0.6, max_head_range=1.0, max_head_share=1e9),
        fingerprint=ModelFingerprint(
            name="test",
            version="1",
            manifest_digest="0" * 64,
            vocabulary_digest=tensorizer.vocabulary.fingerprint,
        ),
        device="cpu",
        code_version="test",
    )
