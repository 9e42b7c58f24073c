"""Which texts are UCUM units, and conversions between them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ucumvert import PintUcumRegistry

from adapters import units

REGISTRY = PintUcumRegistry()


def test_every_everyday_code_and_every_alias_leads_to_what_the_grammar_accepts() -> None:
    for code in units._EVERYDAY | set(units.ALIASES.values()):
        assert units._parses(code), code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("mg/dL", "mg/dL"),
        ("mm[Hg]", "mm[Hg]"),
        ("mmHg", "mm[Hg]"),
        ("bpm", "/min"),
        ("°F", "[degF]"),
        ("lb", "[lb_av]"),
        (" kg ", "kg"),
        ("K/uL", "10*3/uL"),
        ("umol/(24.h)", "umol/(24.h)"),
        ("{tablet}", "{tablet}"),
        ("blobs", None),
        ("(score)", None),
        ("MG/DL", None),
        ("", None),
        ("mg\0", None),
        ("x" * 65, None),
    ],
)
def test_a_text_is_a_code_an_alias_or_nothing(text: str, code: str | None) -> None:
    assert units.ucum_code(text) == code


@pytest.mark.parametrize(
    ("unit", "to", "value", "result"),
    [
        ("[degF]", "Cel", 98.6, 37.0),
        ("Cel", "K", 0, 273.15),
        ("cm[Hg]", "mm[Hg]", 12, 120),
        ("[lb_av]", "kg", 100, 45.359237),
        ("[ft_i]", "cm", 1, 30.48),
        ("mg/dL", "g/L", 100, 1),
        ("%", "1", 50, 0.5),
        ("[IU]/L", "m[IU]/mL", 3, 3),
        ("mg", "mg", 3, 3),
    ],
)
def test_a_conversion_is_linear_in_the_value(
    unit: str, to: str, value: float, result: float
) -> None:
    found = units.conversion(unit, to)
    assert found is not None
    factor, offset = found
    assert factor * value + offset == pytest.approx(result)


@pytest.mark.parametrize(
    ("unit", "to"),
    [
        ("mg/dL", "mmol/L"),
        ("kg", "m"),
        ("blobs", "kg"),
        ("kg", "blobs"),
        ("[IU]/L", "U/L"),
        ("{a}", "1"),
    ],
)
def test_what_does_not_measure_the_same_thing_is_not_converted(unit: str, to: str) -> None:
    assert units.conversion(unit, to) is None


@given(st.sampled_from(["kg", "g", "[lb_av]", "[oz_av]"]), st.sampled_from(["mg", "kg", "[lb_av]"]))
def test_a_conversion_there_and_back_changes_nothing(unit: str, to: str) -> None:
    there, back = units.conversion(unit, to), units.conversion(to, unit)
    assert there is not None
    assert back is not None
    assert there[0] * back[0] == pytest.approx(1)


@given(st.text(max_size=12))
def test_any_text_is_answered(text: str) -> None:
    code = units.ucum_code(text)
    assert code is None or units._parses(code)
