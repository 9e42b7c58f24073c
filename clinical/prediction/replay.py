"""Compares an answer with its recomputation: bitwise equal, within tolerance, or different and in what.

Mathematics over two answers and their capsules. Does not know how either was come by.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from clinical.prediction.abstention import Abstention
from clinical.prediction.plan import PlanComparison, PlanOption
from clinical.prediction.prediction import Capsule, Forecast
from clinical.prediction.readout import Readout, ReadoutKind

NOT_RECORDED = "not recorded"
MAX_PROBABILITY_GAP = 1e-3
MAX_RELATIVE_GAP = 1e-3  # of a quantity's widest band, of the largest latent, of an energy


class Replay(StrEnum):
    """How the second answer compares with the first, or why there is none."""

    EQUAL = "bitwise equal"
    WITHIN_TOLERANCE = "within tolerance, on another device, torch or code"
    DIFFERENT = "different"
    INPUT_CHANGED = "the input has changed"
    NO_ANSWER = "the model did not answer"


@dataclass(frozen=True, slots=True)
class Circumstance:
    """One field of the capsules that is not the same; `may_move_bits` says whether rounding may differ."""

    name: str
    before: str
    now: str
    may_move_bits: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """One part of the answers that is not the same; `size` is None where it is no number."""

    name: str
    is_small: bool
    size: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """How two answers compare, under which other circumstances, and where they part."""

    replay: Replay
    circumstances: tuple[Circumstance, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def largest(self) -> Gap | None:
        """The widest gap between two probabilities, values, energies or latents."""
        return max(
            (gap for gap in self.gaps if gap.size is not None),
            key=lambda gap: gap.size or 0.0,
            default=None,
        )

    @property
    def what(self) -> tuple[str, ...]:
        """What is another one, and then what differs, by name and without values."""
        if self.replay is Replay.EQUAL:
            return ()
        others = (f"another {each.name}" for each in self.circumstances)
        return (*others, *(gap.name for gap in self.gaps))


_MAY_MOVE_BITS = frozenset(
    {"code", "torch", "device", "hardware", "libraries", "dtype", "is deterministic", "num threads"}
)
"""Under another one of these a small difference is rounding. Anything else being other excuses none."""


def compare(stored: Forecast, again: Forecast) -> Recomputed:
    """Every bit of what was said is to be the same; where rounding may differ, a small gap passes."""
    is_equal = stored.output_digest == again.output_digest and again == replace(
        stored, capsule=again.capsule
    )
    gaps = [] if is_equal else [*_trajectory_gaps(stored, again), *_forecast_gaps(stored, again)]
    return _recomputed(stored.capsule, again.capsule, gaps, is_equal=is_equal)


def compare_comparisons(stored: PlanComparison, again: PlanComparison) -> Recomputed:
    """As `compare`, for two comparisons of the same plans."""
    is_equal = stored.output_digest == again.output_digest and again == replace(
        stored, capsule=again.capsule
    )
    gaps = [] if is_equal else list(_comparison_gaps(stored, again))
    return _recomputed(stored.capsule, again.capsule, gaps, is_equal=is_equal)


def differences(stored: Capsule, again: Capsule) -> tuple[Circumstance, ...]:
    """The fields in which two capsules are not the same, by name."""
    one, other = _fields(stored), _fields(again)
    return tuple(
        Circumstance(
            name,
            one.get(name, NOT_RECORDED),
            other.get(name, NOT_RECORDED),
            name in _MAY_MOVE_BITS and name in one,
        )
        for name in {**other, **one}
        if one.get(name) != other.get(name)
    )


def _recomputed(
    stored: Capsule, again: Capsule, gaps: Sequence[Gap], *, is_equal: bool
) -> Recomputed:
    others = differences(stored, again)
    if not (is_equal or gaps):
        gaps = [Gap("wording", is_small=True)]
    if is_equal:
        replay = Replay.EQUAL
    elif any(o.may_move_bits for o in others) and all(gap.is_small for gap in gaps):
        replay = Replay.WITHIN_TOLERANCE
    else:
        replay = Replay.DIFFERENT
    return Recomputed(replay=replay, circumstances=others, gaps=tuple(gaps))


def _fields(capsule: Capsule) -> dict[str, str]:
    model = capsule.model
    fields = {
        "input": capsule.input_digest,
        "config": capsule.config_digest,
        "model": f"{model.name} {model.version} {model.manifest_digest}",
        "vocabulary": model.vocabulary_digest,
        "code": capsule.code_version,
        "torch": capsule.torch_version,
        "device": capsule.device,
        "seed": str(capsule.seed),
        "number of events": str(capsule.num_events),
    }
    for part in (capsule.computation, capsule.received):
        if part is not None:
            prefix = "received " if part is capsule.received else ""
            fields |= {
                prefix + name.replace("_", " "): str(value) for name, value in asdict(part).items()
            }
    return fields


def _trajectory_gaps(stored: Forecast, again: Forecast) -> list[Gap]:
    first, second = stored.trajectory, again.trajectory
    if first is None or second is None:
        return [] if first is second else [Gap("trajectory", is_small=False)]
    if first.horizons != second.horizons:
        return [Gap("windows of the trajectory", is_small=False)]
    parts = (
        ("latents", _floats(first.data), _floats(second.data)),
        ("state", _floats(first.state), _floats(second.state)),
        ("spread", first.spread, second.spread),
        ("noise", first.noise, second.noise),
    )
    return [
        _number_gap(name, one, other) for name, one, other in parts if _bits(one) != _bits(other)
    ]


def _bits(numbers: Sequence[float]) -> list[str]:
    """So that 0 and -0, which are equal, are not the same."""
    return [float(number).hex() for number in numbers]


def _floats(data: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(data) // 4}f", data)


def _number_gap(name: str, one: Sequence[float], other: Sequence[float]) -> Gap:
    if len(one) != len(other):
        return Gap(name, is_small=False)
    size = _widest(one, other)
    return Gap(name, size <= MAX_RELATIVE_GAP * max(1.0, *map(abs, one)), size)


def _forecast_gaps(stored: Forecast, again: Forecast) -> list[Gap]:
    gaps = []
    if _reason(stored.abstention) != _reason(again.abstention):
        gaps.append(Gap("abstention", is_small=False))
    if stored.familiarity != again.familiarity:
        one, other = ([] if f.familiarity is None else [f.familiarity] for f in (stored, again))
        gaps.append(_number_gap("familiarity", one, other))
    if stored.unseen_code_share != again.unseen_code_share:
        gaps.append(Gap("share of unseen codes", is_small=False))
    return gaps + _readout_gaps(stored.readouts, again.readouts)


def _readout_gaps(stored: Sequence[Readout], again: Sequence[Readout], of: str = "") -> list[Gap]:
    if len(stored) != len(again):
        return [Gap(f"{of}number of readouts", is_small=False)]
    pairs = zip(stored, again, strict=True)
    return [_readout_gap(one, other, of) for one, other in pairs if _said(one) != _said(other)]


def _readout_gap(one: Readout, other: Readout, of: str) -> Gap:
    name = f"{of}{one.name}, {one.horizon.label}"
    if (one.name, one.horizon, one.kind) != (other.name, other.horizon, other.kind):
        return Gap(name, is_small=False)
    if _reason(one.abstention) != _reason(other.abstention):
        return Gap(f"{name}, abstention", is_small=False)
    numbers = _numbers(one), _numbers(other)
    if len(numbers[0]) != len(numbers[1]):
        return Gap(name, is_small=False)
    allowed = MAX_PROBABILITY_GAP
    if one.kind is ReadoutKind.QUANTITY:
        allowed = MAX_RELATIVE_GAP * max((i.high - i.low for i in one.intervals), default=0.0)
    size = _widest(*numbers)
    # What else is told of a readout (its evidence, say) is no number, and may follow the rounding.
    return (
        Gap(name, size <= allowed, size)
        if size
        else Gap(f"{name}, what it rests on", is_small=True)
    )


def _comparison_gaps(stored: PlanComparison, again: PlanComparison) -> Iterator[Gap]:
    if _reason(stored.abstention) != _reason(again.abstention):
        yield Gap("abstention", is_small=False)
    if stored.excluded != again.excluded:
        yield Gap("excluded choices", is_small=False)
    if [option.taken for option in stored.options] != [option.taken for option in again.options]:
        yield Gap("options or their order", is_small=False)
        return
    for place, (one, other) in enumerate(zip(stored.options, again.options, strict=True), start=1):
        yield from _option_gaps(one, other, f"option {place}, ")


def _option_gaps(one: PlanOption, other: PlanOption, of: str) -> Iterator[Gap]:
    names = [part.name for part in one.parts], [part.name for part in other.parts]
    if names[0] != names[1] or one.least_usual != other.least_usual:
        yield Gap(f"{of}parts of the energy or what is least usual", is_small=False)
    else:
        energies = [[each.energy, *(part.amount for part in each.parts)] for each in (one, other)]
        size, allowed = _widest(*energies), MAX_RELATIVE_GAP * max(1.0, *map(abs, energies[0]))
        if size:
            yield Gap(f"{of}energy", size <= allowed, size)
    if one.support != other.support:
        size = abs(one.support - other.support)
        yield Gap(f"{of}support", size <= MAX_PROBABILITY_GAP, size)
    yield from _readout_gaps(one.readouts, other.readouts, of)


def _said(readout: Readout) -> tuple[Readout, list[str]]:
    return readout, _bits(_numbers(readout))


def _numbers(readout: Readout) -> list[float]:
    ends = [end for interval in readout.intervals for end in (interval.low, interval.high)]
    return ends if readout.estimate is None else [readout.estimate, *ends]


def _widest(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest difference; infinite where one of the two is no number."""
    gaps = [abs(a - b) for a, b in zip(one, other, strict=True)]
    return max((gap if math.isfinite(gap) else math.inf for gap in gaps), default=0.0)


def _reason(abstention: Abstention | None) -> str:
    return abstention.reason if abstention else ""
