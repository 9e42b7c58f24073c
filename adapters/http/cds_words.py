"""Numbers, moments and names as a card writes them. A card is Markdown: words from outside are escaped."""

import re
from datetime import datetime, timedelta

from adapters.http.items import words_of
from clinical.prediction.readout import Readout, ReadoutKind

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")


def name(readout: Readout) -> str:
    """LOINC's long names say in brackets which property is measured; the unit says that too."""
    if readout.kind is ReadoutKind.PROBABILITY:
        return words_of(readout.name)
    return readout.name.partition(" [")[0]


def amount(readout: Readout) -> str:
    assert readout.estimate is not None
    if readout.kind is ReadoutKind.PROBABILITY:
        return percent(readout.estimate)
    return f"{readout.estimate:.4g} {plain(readout.unit)}".strip()


def interval(readout: Readout) -> str:
    widest = max(readout.intervals, key=lambda interval: interval.level)
    level = f"{widest.level:.0%}".replace("%", " %")
    if readout.kind is ReadoutKind.PROBABILITY:
        return f"{percent(widest.low)} to {percent(widest.high)}, {level}"
    return f"{widest.low:.4g} to {widest.high:.4g}, {level}"


def percent(share: float) -> str:
    """Two digits where there are few: a small risk is not none."""
    percent = 100 * share
    if 0 < percent < 0.1:
        return "under 0.1 %"
    return f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"


def moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def age(length: timedelta) -> str:
    if length < _HOUR:
        return f"{max(0, int(length / timedelta(minutes=1)))} min"
    return f"{length / _HOUR:.0f} h" if length < 2 * _DAY else f"{length / _DAY:.0f} days"


def plain(text: str) -> str:
    """Text that says what it says, in a table too."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
