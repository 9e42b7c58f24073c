"""Two answers compared: every bit counts on the same machine, rounding passes on another one only."""

import hashlib
import json
import math
import struct
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.circumstances import Computation, Received, received_of, records_of
from clinical.prediction.plan import EnergyPart, PlanComparison, PlanOption, Taken
from clinical.prediction.prediction import Capsule, Forecast, Grade
from clinical.prediction.readout import Interval, ReadoutKind
from clinical.prediction.replay import (
    NOT_RECORDED,
    Replay,
    compare,
    compare_comparisons,
    differences,
)
from tests.clinical.builders import event
from tests.clinical.prediction.test_prediction import forecast, readout

COMPUTED = Computation(
    tokeniser_digest="t",
    libraries="numpy 2",
    environment_digest="e",
    hardware="AVX2",
    dtype="float32",
    is_deterministic=False,
    num_threads=1,
    num_members=4,
    num_draws=0,
    num_questions=1,
    num_events=3,
)
WEIGHT = readout(
    100.0, name="weight", kind=ReadoutKind.QUANTITY, intervals=(Interval(90.0, 110.0, 0.9),)
)


def said(**capsule: object) -> Forecast:
    both = forecast(readouts=(readout(), WEIGHT))
    held = {"computation": COMPUTED, **capsule}
    return replace(both, capsule=replace(both.capsule, **held))  # type: ignore[arg-type]


def moved(again: Forecast, gap: float, place: int = 0) -> Forecast:
    readouts = list(again.readouts)
    estimate = readouts[place].estimate
    assert estimate is not None
    readouts[place] = replace(readouts[place], estimate=estimate + gap)
    return replace(again, readouts=tuple(readouts))


def elsewhere() -> Forecast:
    return said(device="cuda")


def test_the_same_bits_are_equal_wherever_they_were_computed() -> None:
    assert compare(said(), said()).replay is Replay.EQUAL
    found = compare(said(), said(device="cuda", code_version="2"))
    assert found.replay is Replay.EQUAL
    assert [each.name for each in found.circumstances] == ["code", "device"]
    assert found.what == ()


@given(st.floats(1e-15, 0.5), st.booleans())
def test_on_the_same_machine_no_difference_is_too_small_to_count(gap: float, is_nan: bool) -> None:
    found = compare(said(), moved(said(), math.nan if is_nan else gap))
    assert found.replay is Replay.DIFFERENT
    assert found.what == ("emergency encounter, 0-365 d",)


@given(st.floats(1e-9, 1e-2))
def test_elsewhere_a_probability_may_move_by_a_thousandth(gap: float) -> None:
    found = compare(said(), moved(elsewhere(), gap))
    is_small = (0.2 + gap) - 0.2 <= 1e-3
    assert (found.replay is Replay.WITHIN_TOLERANCE) == is_small
    assert found.largest is not None
    assert found.largest.size == pytest.approx(gap)
    assert found.what == ("another device", "emergency encounter, 0-365 d")


@pytest.mark.parametrize(
    ("circumstance", "passes"),
    [
        ({"device": "cuda"}, True),
        ({"torch_version": "3"}, True),
        ({"code_version": "2"}, True),
        ({"computation": replace(COMPUTED, hardware="AVX512")}, True),
        ({"computation": replace(COMPUTED, num_threads=2)}, True),
        ({"computation": replace(COMPUTED, environment_digest="f")}, False),
        ({"seed": 1}, False),
        ({"config_digest": "d"}, False),
        ({"received": Received(digest="r", num_records=1, num_deliveries=1)}, False),
    ],
)
def test_only_what_may_move_the_last_bits_excuses_a_small_difference(
    circumstance: dict[str, object], passes: bool
) -> None:
    found = compare(said(), moved(said(**circumstance), 1e-6))
    assert (found.replay is Replay.WITHIN_TOLERANCE) == passes
    assert found.circumstances


def test_a_quantity_may_move_by_a_thousandth_of_its_band() -> None:
    assert compare(said(), moved(elsewhere(), 0.019, 1)).replay is Replay.WITHIN_TOLERANCE
    assert compare(said(), moved(elsewhere(), 0.021, 1)).replay is Replay.DIFFERENT


WITHHELD = Abstention(AbstentionReason.NOT_CALIBRATED, "too few outcomes")
TRAJECTORY = said().trajectory
assert TRAJECTORY is not None


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda f: replace(f, readouts=f.readouts[:1]), "number of readouts"),
        (lambda f: replace(f, trajectory=None, abstention=WITHHELD), "abstention"),
        (
            lambda f: replace(
                f,
                readouts=(readout(None, intervals=(), abstention=WITHHELD), WEIGHT),
            ),
            "emergency encounter, 0-365 d, abstention",
        ),
        (
            lambda f: replace(f, readouts=(replace(readout(), name="x"), WEIGHT)),
            "emergency encounter, 0-365 d",
        ),
        (
            lambda f: replace(f, trajectory=replace(TRAJECTORY, data=struct.pack("<2f", 1, 2.1))),
            "latents",
        ),
        (lambda f: replace(f, trajectory=replace(TRAJECTORY, state=b"\0" * 4)), "state"),
        (lambda f: replace(f, trajectory=replace(TRAJECTORY, spread=(0.2,))), "spread"),
        (lambda f: replace(f, familiarity=None), "familiarity"),
        (lambda f: replace(f, unseen_code_share=0.1), "share of unseen codes"),
    ],
)
def test_what_differs_is_named_and_no_other_machine_excuses_it(
    change: Callable[[Forecast], Forecast], what: str
) -> None:
    found = compare(said(), change(elsewhere()))
    assert found.replay is Replay.DIFFERENT
    assert what in found.what


def test_minus_zero_is_another_bit_and_another_reason_given_is_seen() -> None:
    zero, minus = struct.pack("<2f", 0.0, 1), struct.pack("<2f", -0.0, 1)
    one, other = (replace(said(), trajectory=replace(TRAJECTORY, data=d)) for d in (zero, minus))
    assert compare(one, other).what == ("latents",)
    rested = replace(said(), readouts=(replace(readout(), evidence=(UUID(int=1),)), WEIGHT))
    assert compare(said(), rested).replay is Replay.DIFFERENT
    assert compare(said(), rested).what == ("emergency encounter, 0-365 d, what it rests on",)


def option(name: str, energy: float) -> PlanOption:
    return PlanOption(
        taken=(
            Taken(
                decision=name,
                decision_label=name,
                choice="c",
                label="l",
                actions=(),
                after=timedelta(0),
            ),
        ),
        energy=energy,
        parts=(EnergyPart("goal", energy),),
        support=0.5,
        least_usual=name,
        readouts=(readout(),),
    )


def comparison(*options: PlanOption, **capsule: object) -> PlanComparison:
    return PlanComparison(
        options=options,
        excluded=(),
        abstention=None,
        num_considered=2,
        capsule=said(**capsule).capsule,
    )


def test_comparisons_of_plans_are_compared_option_by_option() -> None:
    one, two = option("a", 1.0), option("b", 2.0)
    stored = comparison(one, two)
    assert compare_comparisons(stored, comparison(one, two)).replay is Replay.EQUAL
    near = replace(two, energy=2.0 + 1e-6, support=0.5 + 1e-6)
    found = compare_comparisons(stored, comparison(one, near))
    assert found.replay is Replay.DIFFERENT
    assert found.what == ("option 2, energy", "option 2, support")
    there = compare_comparisons(stored, comparison(one, near, device="cuda"))
    assert there.replay is Replay.WITHIN_TOLERANCE
    swapped = compare_comparisons(stored, comparison(two, one, device="cuda"))
    assert swapped.what == ("another device", "options or their order")


def test_what_an_old_capsule_does_not_record_is_said_to_be_so() -> None:
    old = said(computation=None).capsule
    [hardware] = [each for each in differences(old, said().capsule) if each.name == "hardware"]
    assert (hardware.before, hardware.now) == (NOT_RECORDED, "AVX2")
    assert not hardware.may_move_bits
    assert compare(said(computation=None), moved(said(), 1e-9)).replay is Replay.DIFFERENT


def test_a_capsule_keeps_its_digest_when_parts_are_added_and_every_field_is_in_it() -> None:
    capsule = said().capsule
    parts = {name: part for name, part in asdict(capsule).items() if name != "received"}
    written = json.dumps(parts, sort_keys=True).encode()
    assert capsule.digest == hashlib.sha256(written).hexdigest()
    received = Received(digest="r", num_records=1, num_deliveries=1)
    others: list[Capsule] = [replace(capsule, received=received)]
    for name in (f for f in asdict(capsule) if f not in {"model", "computation", "received"}):
        value = getattr(capsule, name)
        others.append(replace(capsule, **{name: value + 1 if isinstance(value, int) else "other"}))
    for name, value in asdict(COMPUTED).items():
        other = "other" if isinstance(value, str) else int(value) + 1
        others.append(replace(capsule, computation=replace(COMPUTED, **{name: other})))
    assert len({each.digest for each in [capsule, *others]}) == len(others) + 1


def test_bits_are_promised_where_nothing_but_chance_kernels_could_change_them() -> None:
    assert said().capsule.grade is Grade.BITWISE
    assert said(device="cuda").capsule.grade is Grade.TOLERANCE
    alike = replace(COMPUTED, is_deterministic=True)
    assert said(device="cuda", computation=alike).capsule.grade is Grade.BITWISE


def test_received_bytes_are_told_apart_by_record_delivery_and_body() -> None:
    events = [event("a"), event("b"), event("b", at=1)]  # two of them are of one record
    held = {events[0].source.delivery_id: "d1"}
    whole = received_of(events, held)
    assert (whole.num_records, whole.num_deliveries) == (2, 1)
    assert whole == received_of(reversed(events), held)
    assert whole.digest == hashlib.sha256("\n".join(records_of(events, held)).encode()).hexdigest()
    elsewhere = replace(events[0].source, delivery_id=UUID(int=5))
    others = [
        received_of(events[1:], held),
        received_of([event("a", content="edited"), *events[1:]], held),
        received_of([replace(events[0], source=elsewhere), *events[1:]], held),
        received_of(events, {}),
        received_of(events, dict.fromkeys(held, "d2")),
    ]
    assert len({whole.digest, *(each.digest for each in others)}) == 6
