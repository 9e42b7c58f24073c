"""What a sound answer of the model process looks like, and what becomes of one whose numbers are none.

Knows shapes and ranges. Does not know how the answer came, nor to which question.
"""

import math
import sys
from array import array
from collections.abc import Iterable

from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.memory import PatientMemory
from clinical.prediction.plan import PlanComparison
from clinical.prediction.prediction import Forecast
from clinical.prediction.readout import Readout, ReadoutKind
from clinical.prediction.trajectory import LatentTrajectory
from clinical.timeline.timeline import Timeline


def is_whole(forecast: Forecast) -> bool:
    """Whether there is either a course or one abstention, of a shape that can be read."""
    trajectory, is_withheld = forecast.trajectory, forecast.abstention is not None
    if (trajectory is None) != is_withheld or (is_withheld and forecast.readouts):
        return False
    if trajectory is not None and len(trajectory.state) % 4:
        return False
    return 0.0 <= forecast.unseen_code_share <= 1.0


def in_numbers(forecast: Forecast) -> Forecast:
    """The same, or one abstention for all of it where anything said is no number or no probability.

    What a model says beside a NaN is as little to be trusted, so nothing of it is kept.
    """
    if _is_numeric(forecast):
        return forecast
    detail = "the model answered with something that is no number, or no probability"
    return Forecast(
        trajectory=None,
        readouts=(),
        abstention=Abstention(AbstentionReason.MODEL_NOT_NUMERIC, detail),
        familiarity=None,
        unseen_code_share=forecast.unseen_code_share,
        capsule=forecast.capsule,
    )


def are_of(memories: Iterable[PatientMemory], timeline: Timeline) -> bool:
    """Whether each is intact, and of the first events of this very timeline."""
    prefixes = timeline.chain.resumable
    return all(
        m.is_intact and m.patient_id == timeline.patient_id and m.prefix in prefixes
        for m in memories
    )


def is_sound_comparison(comparison: PlanComparison) -> bool:
    """Whether there are options in order or one abstention, and every number said is one."""
    if bool(comparison.options) == (comparison.abstention is not None):
        return False
    energies = [option.energy for option in comparison.options]
    amounts = [part.amount for option in comparison.options for part in option.parts]
    readouts = [readout for option in comparison.options for readout in option.readouts]
    return (
        energies == sorted(energies)
        and all(map(math.isfinite, [*energies, *amounts]))
        and all(0.0 <= option.support <= 1.0 for option in comparison.options)
        and all(map(_is_said_in_numbers, readouts))
    )


def _is_numeric(forecast: Forecast) -> bool:
    familiarity, trajectory = forecast.familiarity, forecast.trajectory
    return (
        (familiarity is None or math.isfinite(familiarity))
        and all(map(_is_said_in_numbers, forecast.readouts))
        and (trajectory is None or _is_finite(trajectory))
    )


def _is_said_in_numbers(readout: Readout) -> bool:
    said = [] if readout.estimate is None else [readout.estimate]
    said += [end for interval in readout.intervals for end in (interval.low, interval.high)]
    shares = [interval.level for interval in readout.intervals]
    if readout.kind is ReadoutKind.PROBABILITY:
        shares += said
        if readout.reliability is not None:
            shares += [readout.reliability.mean_predicted, readout.reliability.observed]
    # A NaN lies within no range.
    return all(map(math.isfinite, said)) and all(0.0 <= share <= 1.0 for share in shares)


def _is_finite(trajectory: LatentTrajectory) -> bool:
    latents = array("f", trajectory.data + trajectory.state)
    if sys.byteorder == "big":
        latents.byteswap()
    said = (latents, trajectory.spread, trajectory.noise)
    return all(math.isfinite(number) for numbers in said for number in numbers)
