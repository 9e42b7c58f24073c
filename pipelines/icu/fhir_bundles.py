"""Stays of the MIMIC-IV demo as the FHIR Bundles that a hospital would send.

Knows FHIR R4 as it is written; which item is which code is the table's (`mimic_items.csv`). A value
is taken into the table's unit exactly, or written as it stands; none is rounded but to nine digits
where a conversion does not end. Counts all that it leaves out.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from adapters.fhir.codes import URIS
from clinical.timeline.code import Code, CodeSystem
from pipelines.icu.challenge import ICU_TYPES
from pipelines.icu.mimic import IcuStay, Item, Row, items
from pipelines.icu.series import series

_NINE_DIGITS = Context(prec=9)
_DISPOSITION = "http://terminology.hl7.org/CodeSystem/discharge-disposition"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_ICU_TYPE = {
    "Coronary Care Unit (CCU)": "1",
    "Cardiac Vascular Intensive Care Unit (CVICU)": "2",
    "Medical Intensive Care Unit (MICU)": "3",
    "Surgical Intensive Care Unit (SICU)": "4",
    "Trauma SICU (TSICU)": "4",
}
"""The challenge's number of a unit; mixed and neurological units are none of its four."""

Resource = dict[str, Any]


@dataclass(slots=True)
class Written:
    """What became of the rows: kept by display, and left out by reason."""

    kept: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def bundle(stay: IcuStay, written: Written) -> bytes:
    """The stay as one Bundle: Patient, Encounter, Observations; always the same bytes."""
    resources = [_patient(stay), _encounter(stay), *_unit(stay), *_observations(stay, written)]
    document = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": resource} for resource in resources],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _patient(stay: IcuStay) -> Resource:
    patient: Resource = {
        "resourceType": "Patient",
        "id": stay.subject,
        "gender": "female" if stay.is_female else "male",
        "birthDate": str(stay.born),
    }
    return patient | ({"deceasedDateTime": _text(stay.discharged)} if stay.has_died else {})


def _encounter(stay: IcuStay) -> Resource:
    """From the admission to intensive care until the patient leaves the hospital."""
    encounter: Resource = {
        "resourceType": "Encounter",
        "id": f"{stay.subject}-stay",
        "status": "finished",
        "class": {"system": URIS[CodeSystem.ACT], "code": "IMP", "display": stay.unit},
        "subject": {"reference": f"Patient/{stay.subject}"},
        "period": {"start": _text(stay.admitted), "end": _text(stay.discharged)},
    }
    disposition = {"system": _DISPOSITION, "code": "exp", "display": "Expired"}
    ended = {"hospitalization": {"dischargeDisposition": {"coding": [disposition]}}}
    return encounter | (ended if stay.has_died else {})


def _unit(stay: IcuStay) -> list[Resource]:
    """The kind of unit, where it is one of the four that the challenge knows."""
    if stay.unit not in _ICU_TYPE:
        return []
    kind = ICU_TYPES[_ICU_TYPE[stay.unit]]
    return [_observation(stay, "unit", stay.admitted, kind, "", {"valueBoolean": True})]


def _observations(stay: IcuStay, written: Written) -> Iterator[Resource]:
    for number, (item, moment, numbers) in enumerate(_facts(stay, written), start=1):
        code = Code(item.system, item.code, item.display)
        if item.rule == "assertion":
            value: Resource = {"valueBoolean": True}
        else:
            amount = sum((_in_unit(each, item) for each in numbers), Decimal(0))
            if not _is_plausible(item, amount):
                written.left_out[f"no living patient could have it: {item.display}"] += 1
                continue
            value = {"valueQuantity": _quantity(amount, item.unit)}
        written.kept[item.display] += 1
        yield _observation(stay, str(number), moment, code, item.category, value)


def _facts(stay: IcuStay, written: Written) -> Iterator[tuple[Item, datetime, list[str]]]:
    """Each item with its moment and number, the parts of a sum as one; in order of time."""
    parts: dict[tuple[datetime, str], dict[str, tuple[Item, str]]] = defaultdict(dict)
    for row in sorted(stay.rows, key=_order):
        item = items().get(row.code)
        assert row.time is not None
        if item is None:
            written.left_out["not in the table"] += 1
        elif row.number is None:
            written.left_out[f"no number: {item.display}"] += 1
        elif item.rule == "sum":
            parts[row.time, item.code][item.meds_code] = (item, row.number)
        else:
            parts[row.time, f"{item.code}|{len(parts)}"][item.meds_code] = (item, row.number)
    for (moment, _), held in parts.items():
        item = next(iter(held.values()))[0]
        if len(held) < _num_parts(item):
            written.left_out[f"a part is missing: {item.display}"] += len(held)
            continue
        yield item, moment, [number for _, number in held.values()]


def _num_parts(item: Item) -> int:
    if item.rule != "sum":
        return 1
    return sum(each.code == item.code and each.rule == "sum" for each in items().values())


def _order(row: Row) -> tuple[datetime, str, str]:
    assert row.time is not None
    return (row.time, row.code, row.number or "")


def _in_unit(number: str, item: Item) -> Decimal:
    exact = Fraction(number) * item.factor + item.offset
    return _NINE_DIGITS.divide(Decimal(exact.numerator), Decimal(exact.denominator))


def _is_plausible(item: Item, amount: Decimal) -> bool:
    known = {found.code.key: found for found in series().values()}
    found = known.get(f"{item.system}|{item.code}")
    return found is None or found.low <= amount <= found.high


def _quantity(amount: Decimal, unit: str) -> Resource:
    # A whole number as such: JSON has no other way to keep "120" from becoming "120.0".
    value = int(amount) if amount == amount.to_integral_value() else float(amount)
    return {"value": value, "unit": unit, "system": URIS[CodeSystem.UCUM], "code": unit}


def _observation(
    stay: IcuStay, name: str, moment: datetime, code: Code, category: str, value: Resource
) -> Resource:
    system = URIS[code.system] if isinstance(code.system, CodeSystem) else code.system
    coding = {"system": system, "code": code.value, "display": code.display}
    observation: Resource = {
        "resourceType": "Observation",
        "id": f"{stay.subject}-{name}",
        "status": "final",
        "code": {"coding": [coding]},
        "subject": {"reference": f"Patient/{stay.subject}"},
        "effectiveDateTime": _text(moment),
        **value,
    }
    if category:
        observation["category"] = [{"coding": [{"system": _CATEGORY, "code": category}]}]
    return observation


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
