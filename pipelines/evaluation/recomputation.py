"""Asks the model the same questions again and compares the answers, number by number.

Knows what makes two forecasts equal. Does not know how the model is reached.
"""

import math
import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from clinical.errors import NotFoundError
from clinical.prediction.memory import DamagedMemoryError, RefusedMemoryError
from clinical.prediction.prediction import Forecast, Prediction
from clinical.prediction.readout import Readout, ReadoutKind
from clinical.services.ports import ModelBusyError, ModelUnavailableError
from clinical.services.prediction import ChangedInputError, PredictionService

MAX_PROBABILITY_GAP = 1e-3
MAX_RELATIVE_GAP = 1e-3  # of a quantity's widest band, and of the largest latent


class Replay(StrEnum):
    """How the second answer compares with the first."""

    EQUAL = "bitwise equal"
    WITHIN_TOLERANCE = "within tolerance, on another device, torch or code"
    DIFFERENT = "different"
    INPUT_CHANGED = "the input has changed"
    NO_ANSWER = "the model did not answer"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One prediction asked again; `what` names the parts that differ, without any value."""

    prediction_id: UUID
    replay: Replay
    what: tuple[str, ...] = ()


def sample_of(prediction_ids: Iterable[UUID], size: int, seed: int) -> list[UUID]:
    """At most `size` of them, the same for the same ids and seed, in the order of the ids."""
    ordered = sorted(prediction_ids)
    chosen = random.Random(seed).sample(ordered, min(size, len(ordered)))  # noqa: S311
    return sorted(chosen)


def replay(predictions: PredictionService, prediction_ids: Sequence[UUID]) -> list[Replayed]:
    """Ask each question again."""
    return [_replay_one(predictions, prediction_id) for prediction_id in prediction_ids]


def _replay_one(predictions: PredictionService, prediction_id: UUID) -> Replayed:
    try:
        stored, again = predictions.recompute(prediction_id)
    except (ChangedInputError, NotFoundError):
        return Replayed(prediction_id, Replay.INPUT_CHANGED)
    except (ModelUnavailableError, ModelBusyError) as error:
        return Replayed(prediction_id, Replay.NO_ANSWER, (error.code,))
    replayed = Replayed(prediction_id, *compare(stored.forecast, again))
    if replayed.replay is not Replay.EQUAL:
        return replayed
    return _resumed(predictions, stored) or replayed


def _resumed(predictions: PredictionService, stored: Prediction) -> Replayed | None:
    """What is wrong with going on from what the model remembers; None where nothing is.

    A memory of another code or device is no fault: the next answer reads the whole again.
    """
    prediction_id = stored.request.prediction_id
    try:
        again = predictions.resume(prediction_id)
    except DamagedMemoryError:
        return Replayed(prediction_id, Replay.DIFFERENT, ("damaged memory",))
    except RefusedMemoryError:
        return None
    except (ModelUnavailableError, ModelBusyError) as error:
        return Replayed(prediction_id, Replay.NO_ANSWER, (error.code,))
    if again is None or again.output_digest == stored.forecast.output_digest:
        return None
    _, parts = compare(stored.forecast, again)
    return Replayed(prediction_id, Replay.DIFFERENT, ("going on from memory", *parts))


def compare(stored: Forecast, again: Forecast) -> tuple[Replay, tuple[str, ...]]:
    """Whether two answers are the same, and the parts in which they are not.

    Equal digests on equal circumstances are demanded; only where the device, torch or our own code
    is another one does a small numeric difference pass. What of these is another comes first.
    """
    if stored.output_digest == again.output_digest:
        return Replay.EQUAL, ()
    gaps = [*_trajectory_gaps(stored, again), *_readout_gaps(stored, again)]
    others = _other_circumstances(stored, again)
    parts = (*others, *(name for name, _ in gaps))
    if others and all(is_small for _, is_small in gaps):
        return Replay.WITHIN_TOLERANCE, parts
    return Replay.DIFFERENT, parts


def _other_circumstances(stored: Forecast, again: Forecast) -> tuple[str, ...]:
    first, second = stored.capsule, again.capsule
    circumstances = {
        "another device": (first.device, second.device),
        "another torch": (first.torch_version, second.torch_version),
        "another code": (first.code_version, second.code_version),
    }
    return tuple(name for name, (one, other) in circumstances.items() if one != other)


def _trajectory_gaps(stored: Forecast, again: Forecast) -> list[tuple[str, bool]]:
    """Names of differing parts of the trajectory, and whether each difference is small."""
    first, second = stored.trajectory, again.trajectory
    if first is None or second is None:
        return [] if first is second else [("abstention", False)]
    gaps = []
    for name, one, other in (
        ("latents", first.data, second.data),
        ("state", first.state, second.state),
    ):
        if one != other:
            gaps.append((name, len(one) == len(other) and _are_close(one, other)))
    return gaps


def _are_close(one: bytes, other: bytes) -> bool:
    numbers = [struct.unpack(f"<{len(each) // 4}f", each) for each in (one, other)]
    largest = max(map(abs, numbers[0]), default=0.0)
    gap = max((abs(a - b) for a, b in zip(*numbers, strict=True)), default=0.0)
    return gap <= MAX_RELATIVE_GAP * max(1.0, largest)


def _readout_gaps(stored: Forecast, again: Forecast) -> list[tuple[str, bool]]:
    if len(stored.readouts) != len(again.readouts):
        return [("number of readouts", False)]
    gaps = []
    for one, other in zip(stored.readouts, again.readouts, strict=True):
        if _said(one) != _said(other):
            gaps.append((f"{one.name}, {one.horizon.label}", _is_small(one, other)))
    if _abstention(stored) != _abstention(again):
        gaps.append(("abstention", False))
    return gaps


def _is_small(one: Readout, other: Readout) -> bool:
    numbers = _numbers(one), _numbers(other)
    same_shape = len(numbers[0]) == len(numbers[1]) and _reason(one) == _reason(other)
    if not same_shape or (one.name, one.horizon) != (other.name, other.horizon):
        return False
    allowed = MAX_PROBABILITY_GAP
    if one.kind is ReadoutKind.QUANTITY:
        widest = max((interval.high - interval.low for interval in one.intervals), default=0.0)
        allowed = MAX_RELATIVE_GAP * widest
    return all(
        math.isclose(a, b, rel_tol=0, abs_tol=allowed) for a, b in zip(*numbers, strict=True)
    )


def _said(readout: Readout) -> tuple[str, str, list[float], str]:
    return readout.name, readout.horizon.label, _numbers(readout), _reason(readout)


def _numbers(readout: Readout) -> list[float]:
    ends = [end for interval in readout.intervals for end in (interval.low, interval.high)]
    return ends if readout.estimate is None else [readout.estimate, *ends]


def _reason(readout: Readout) -> str:
    return readout.abstention.reason if readout.abstention else ""


def _abstention(forecast: Forecast) -> str:
    return forecast.abstention.reason if forecast.abstention else ""
