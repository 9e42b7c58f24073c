"""The table of items: codes that exist, units that are UCUM, conversions that the unit library confirms."""

import csv
from pathlib import Path

import pytest

from adapters.units import conversion, ucum_code
from clinical.timeline.code import CodeSystem
from pipelines.icu import mimic
from pipelines.icu.challenge import VENTILATED
from pipelines.icu.mimic import Item, items
from pipelines.icu.series import series

TABLE = Path(mimic.__file__).with_name("mimic_items.csv")
ITEMS = list(items().values())
# Their units are stated by nobody, or in a word that is no unit.
_UNSTATED = {"UNK", "units"}


def has_loinc_check_digit(code: str) -> bool:
    """LOINC's modulus 10, double-add-double (Luhn's), over the digits before the hyphen."""
    number, _, digit = code.partition("-")
    doubled = [int(d) * (2 if place % 2 == 0 else 1) for place, d in enumerate(reversed(number))]
    total = sum(d // 10 + d % 10 for d in doubled)
    return digit.isdigit() and (10 - total % 10) % 10 == int(digit)


def test_the_check_of_loinc_knows_right_from_wrong() -> None:
    assert has_loinc_check_digit("8867-4")
    assert has_loinc_check_digit("76536-2")
    assert not has_loinc_check_digit("8867-5")
    assert not has_loinc_check_digit("8876-4")


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.meds_code)
def test_every_code_exists_and_every_unit_is_ucum(item: Item) -> None:
    if item.rule == "assertion":
        assert (item.system, item.code) == (VENTILATED.system, VENTILATED.value)
        return
    assert item.system is CodeSystem.LOINC
    assert has_loinc_check_digit(item.code)
    assert ucum_code(item.unit) == item.unit
    assert item.category in {"vital-signs", "laboratory"}


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.meds_code)
def test_every_item_is_a_series_that_the_model_knows_in_the_same_unit(item: Item) -> None:
    known = {found.code.key: found for found in series().values()}
    if item.rule == "assertion":
        return
    found = known[f"{item.system}|{item.code}"]
    assert (found.unit, found.category) == (item.unit, item.category)


@pytest.mark.parametrize(
    "item",
    [i for i in ITEMS if i.rule == "value" and i.stated_unit not in _UNSTATED],
    ids=lambda item: item.meds_code,
)
def test_a_conversion_is_the_one_of_the_unit_library(item: Item) -> None:
    stated = ucum_code(item.stated_unit) or ucum_code(item.stated_unit.replace("ml", "mL"))
    assert stated is not None
    found = conversion(stated, item.unit)
    assert found is not None
    assert found == pytest.approx((float(item.factor), float(item.offset)), rel=1e-9, abs=1e-9)


def test_every_series_of_the_challenge_has_its_check_digit_too() -> None:
    codes = [s.code.value for s in series().values() if s.code.system is CodeSystem.LOINC]
    assert [code for code in codes if not has_loinc_check_digit(code)] == []
    assert len(codes) == len(set(codes))


def test_no_item_is_named_twice_and_a_sum_has_several_parts() -> None:
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["meds_code"] for row in rows}) == len(rows) == len(ITEMS)
    assert sum(item.rule == "sum" for item in ITEMS) == 3
