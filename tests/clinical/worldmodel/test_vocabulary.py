"""The vocabulary: fitted once, in any order the same, and reads values as they were meant."""

from decimal import Decimal

import pytest

from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.quantity import Comparator, Quantity
from clinical.worldmodel.concepts import MAX_PIECES, ancestors, pieces
from clinical.worldmodel.fitting import FitConfig, fit
from clinical.worldmodel.vocabulary import ValueScale, Vocabulary
from tests.clinical.worldmodel.conftest import SMALL, convert
from tests.clinical.worldmodel.patients import (
    DIABETES,
    GLUCOSE,
    METFORMIN,
    PRESSURE,
    WEIGHT,
    made_up,
)

VALUES = (-3.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.5, 5.0, 8.5, 14.5, 20.0, 99.0)
SCALE = ValueScale(
    unit="kg",
    knots=(0.0, 1.0, 2.0, 2.0, 2.0, 5.0, 6.0, 7.0, 8.0, 9.0, 20.0),
    mean=4.0,
    sd=2.0,
    num_values=500,
    has_own_bins=True,
    conversions={"kg": (1.0, 0.0), "g": (0.001, 0.0)},
)


def test_the_same_patients_in_any_order_give_the_same_vocabulary(vocabulary: Vocabulary):
    config = FitConfig(min_own_bins=100, min_forecast_values=50, num_buckets=SMALL.num_buckets)
    timelines = [made_up(number) for number in reversed(range(40))]
    again = fit(timelines, convert, common_units=("kPa", "[lb_av]", "g"), config=config)
    assert again == vocabulary
    assert again.fingerprint == vocabulary.fingerprint
    assert fit(timelines[1:], convert, config=config).fingerprint != vocabulary.fingerprint


def test_written_down_and_read_again_it_is_the_same(vocabulary: Vocabulary):
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    assert Vocabulary.from_json(vocabulary.to_json()).fingerprint == vocabulary.fingerprint


def test_it_follows_what_is_measured_often_and_knows_what_is_done(vocabulary: Vocabulary):
    assert set(vocabulary.numeric) == {WEIGHT.key, PRESSURE.key, GLUCOSE.key}
    assert METFORMIN.key in vocabulary.actions
    assert DIABETES.key not in vocabulary.actions
    assert vocabulary.tokens[DIABETES.key] > 0
    scale = vocabulary.scales[WEIGHT.key]
    assert set(scale.conversions) == {"kg", "g", "[lb_av]"}
    assert scale.knots == tuple(sorted(scale.knots))
    assert vocabulary.bin_rows[WEIGHT.key] > 0


def test_a_position_is_linear_between_the_knots_and_never_leaves_them():
    found = [SCALE.position(v) for v in VALUES]
    assert found == [0, 0, 0.5, 1, 1.5, 4, 4.5, 5, 8.5, 9.5, 10, 10]


@pytest.mark.parametrize(
    ("value", "unit", "comparator", "expected"),
    [
        ("70", "kg", None, 70.0),
        ("70000", "g", None, 70.0),
        ("70", "[lb_av]", None, None),
        ("70", None, None, None),
        ("70", "kg", Comparator.GREATER, None),
    ],
)
def test_a_value_is_converted_by_a_frozen_factor_or_withheld(
    value: str, unit: str | None, comparator: Comparator | None, expected: float | None
):
    assert SCALE.canonical(Quantity(Decimal(value), unit, "", comparator)) == expected


def test_extremes_are_not_flattened_but_held_within_five_deviations():
    assert SCALE.clipped(12.0) == 4.0
    assert SCALE.clipped(1e6) == 5.0
    assert SCALE.standardised(1e6) > 1e5


def test_ancestors_are_read_from_the_codes_that_spell_them():
    assert ancestors(Code(CodeSystem.ICD_10_CM, "E11.65")) == ("E", "E11")
    assert ancestors(Code(CodeSystem.ATC, "A10BA02")) == ("A", "A10", "A10B", "A10BA")
    assert ancestors(Code(CodeSystem.ATC, "A10")) == ("A",)
    assert ancestors(Code(CodeSystem.SNOMED_CT, "195967001")) == ()


def test_pieces_are_stable_bounded_and_shared_between_like_words():
    code = Code(CodeSystem.LOINC, "1", "Glucose  in Blood")
    assert pieces((code,), 1024) == pieces((Code(CodeSystem.LOINC, "9", "glucose in blood"),), 1024)
    assert pieces((Code(CodeSystem.LOINC, "1", "glucose"),), 1024) == (320, 677, 935, 599, 231, 373)
    long = pieces((Code(CodeSystem.LOINC, "1", "word " * 400),), 1024)
    assert 0 < len(long) <= MAX_PIECES
    assert all(0 < piece < 1024 for piece in long)
    assert pieces((Code(CodeSystem.LOINC, "1"),), 1024) == ()
    other = set(pieces((Code(CodeSystem.LOINC, "2", "glucose in urine"),), 1024))
    assert len(other & set(pieces((code,), 1024))) >= 8
