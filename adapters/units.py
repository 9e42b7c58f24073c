"""Units of measure in UCUM: which texts are UCUM codes, and how to get from one unit to another.

Built on ucumvert (the UCUM grammar) and pint (dimensions), which are loaded only when a unit is met
that the short table of everyday codes does not hold. Knows no codes of measurements and no patients.
"""

from functools import lru_cache
from typing import Any

_EVERYDAY = frozenset(
    [
        "1",
        "%",
        "/min",
        "/h",
        "/d",
        "/a",
        "/uL",
        "/mL",
        "/L",
        "/[HPF]",
        "/[LPF]",
        "{score}",
        "{#}",
        "{count}",
        "10*3/uL",
        "10*6/uL",
        "10*9/L",
        "10*12/L",
        "g",
        "mg",
        "ug",
        "ng",
        "pg",
        "kg",
        "g/dL",
        "g/L",
        "mg/dL",
        "mg/L",
        "mg/mL",
        "ug/dL",
        "ug/L",
        "ug/mL",
        "ng/mL",
        "ng/dL",
        "ng/L",
        "pg/mL",
        "pg",
        "mg/g",
        "mg/kg",
        "mg/d",
        "mg/h",
        "mg/min",
        "ug/min",
        "g/d",
        "mg/mmol",
        "ug/mg",
        "mol",
        "mmol",
        "umol",
        "nmol",
        "mmol/L",
        "umol/L",
        "nmol/L",
        "pmol/L",
        "mol/L",
        "meq/L",
        "mmol/mol",
        "[IU]",
        "U",
        "U/L",
        "U/mL",
        "m[IU]/L",
        "m[IU]/mL",
        "u[IU]/mL",
        "k[IU]/L",
        "[IU]/L",
        "[IU]/mL",
        "L",
        "mL",
        "dL",
        "fL",
        "uL",
        "mL/min",
        "mL/h",
        "mL/kg",
        "mL/min/{1.73_m2}",
        "L/min",
        "m",
        "cm",
        "mm",
        "um",
        "[in_i]",
        "[ft_i]",
        "kg/m2",
        "m2",
        "[lb_av]",
        "[oz_av]",
        "Cel",
        "[degF]",
        "K",
        "mm[Hg]",
        "cm[H2O]",
        "kPa",
        "Pa",
        "s",
        "ms",
        "min",
        "h",
        "d",
        "wk",
        "mo",
        "a",
        "mosm/kg",
        "{INR}",
        "{ratio}",
        "mm/h",
        "kcal",
    ]
)
"""Codes that need no parsing; a test holds each of them to ucumvert's grammar."""

ALIASES: dict[str, str] = {
    # pressure
    "mmHg": "mm[Hg]",
    "mm Hg": "mm[Hg]",
    "cmHg": "cm[Hg]",
    "cmH2O": "cm[H2O]",
    # rates
    "bpm": "/min",
    "beats/min": "/min",
    "beats/minute": "/min",
    "breaths/min": "/min",
    "breaths/minute": "/min",
    "/minute": "/min",
    "insp/min": "/min",
    "per minute": "/min",
    # temperature
    "°C": "Cel",
    "ºC": "Cel",
    "degC": "Cel",
    "degrees C": "Cel",
    "C": "Cel",
    "°F": "[degF]",
    "ºF": "[degF]",
    "degF": "[degF]",
    "degrees F": "[degF]",
    "F": "[degF]",
    # length and mass
    "in": "[in_i]",
    "inch": "[in_i]",
    "Inch": "[in_i]",
    "inches": "[in_i]",
    "ft": "[ft_i]",
    "feet": "[ft_i]",
    "lb": "[lb_av]",
    "lbs": "[lb_av]",
    "oz": "[oz_av]",
    # amounts
    "mcg": "ug",
    "µg": "ug",
    "μg": "ug",
    "mcg/mL": "ug/mL",
    "mcg/dL": "ug/dL",
    "µmol/L": "umol/L",
    "μmol/L": "umol/L",
    "mEq/L": "meq/L",
    "IU": "[IU]",
    "IU/L": "[IU]/L",
    "IU/mL": "[IU]/mL",
    "mIU/L": "m[IU]/L",
    "mIU/mL": "m[IU]/mL",
    "uIU/mL": "u[IU]/mL",
    "µIU/mL": "u[IU]/mL",
    "units": "U",
    "unit": "U",
    "mOsm/kg": "mosm/kg",
    "cc": "mL",
    # counts
    "#/uL": "/uL",
    "#/hpf": "/[HPF]",
    "/hpf": "/[HPF]",
    "#/lpf": "/[LPF]",
    "/lpf": "/[LPF]",
    "K/uL": "10*3/uL",
    "K/µL": "10*3/uL",
    "M/uL": "10*6/uL",
    "m/uL": "10*6/uL",
    "x10E3/uL": "10*3/uL",
    "x10E6/uL": "10*6/uL",
    "10^3/uL": "10*3/uL",
    "10^6/uL": "10*6/uL",
    "10^9/L": "10*9/L",
    "10^12/L": "10*12/L",
    # time
    "msec": "ms",
    "sec": "s",
    "secs": "s",
    "seconds": "s",
    "minutes": "min",
    "hours": "h",
    "hrs": "h",
    "hr": "h",
    "days": "d",
    "day": "d",
    "weeks": "wk",
    "months": "mo",
    "years": "a",
    "year": "a",
    "percent": "%",
    "mm/hr": "mm/h",
    "mL/hr": "mL/h",
    "ml/hr": "mL/h",
    "Liters": "L",
    "mg/hr": "mg/h",
}
"""Spellings that are common and mean one UCUM unit in a clinical record, though UCUM has them not,
or has them as something absurd there (`C` is coulomb, `F` farad, `bpm` nothing)."""

_MAX_LENGTH = 64


@lru_cache(maxsize=4096)
def ucum_code(text: str) -> str | None:
    """The UCUM code that `text` is, or is a documented alias of; None where it is neither.

    Case counts: `mg` is a milligram, `Mg` a megagram. Nothing is guessed beyond `ALIASES`.
    """
    if text in _EVERYDAY:
        return text
    if text in ALIASES:
        return ALIASES[text]
    stripped = text.strip()
    if stripped != text:
        return ucum_code(stripped)
    if not text or len(text) > _MAX_LENGTH or not text.isascii():
        return None
    return text if _parses(text) else None


@lru_cache(maxsize=4096)
def conversion(unit: str, to: str) -> tuple[float, float] | None:
    """`(factor, offset)` such that a value in `unit` is `factor * value + offset` in `to`.

    None where either is no UCUM code or they do not measure the same thing; that includes
    conversions that need more than the unit, as from moles to grams.
    """
    if unit == to:
        return (1.0, 0.0)
    source, target = _pint_quantity(unit), _pint_quantity(to)
    if source is None or target is None or source.dimensionality != target.dimensionality:
        return None
    zero, far = (
        _registry().Quantity(amount * source.magnitude, source.units).to(target.units).magnitude
        / target.magnitude
        for amount in (0.0, _FAR)
    )
    return (float(far - zero) / _FAR, float(zero))


_FAR = 1e6
"""Far enough from zero that an offset does not eat the digits of the factor."""


def _pint_quantity(unit: str) -> Any | None:
    from lark.exceptions import LarkError  # noqa: PLC0415 - loaded only when needed
    from pint.errors import PintError  # noqa: PLC0415

    try:
        found = _registry().from_ucum(unit)
        units = getattr(found, "units", found)
        return _registry().Quantity(float(getattr(found, "magnitude", 1)), units)
    except (LarkError, PintError, TypeError):
        return None


def _parses(text: str) -> bool:
    from lark.exceptions import LarkError  # noqa: PLC0415

    try:
        _parser().parse(text)
    except LarkError:
        return False
    return True


@lru_cache(maxsize=1)
def _parser() -> Any:
    from ucumvert import get_ucum_parser  # noqa: PLC0415

    return get_ucum_parser()


@lru_cache(maxsize=1)
def _registry() -> Any:
    from ucumvert import PintUcumRegistry  # noqa: PLC0415

    return PintUcumRegistry()
