"""How likely something is to happen in any window: the one place where raw readouts become risks.

Knows hazards and intensities. Does not know calibration: what it gives is raw.
"""

from collections.abc import Sequence
from datetime import timedelta

from jaxtyping import Float
from torch import Tensor

from clinical.prediction.horizon import Horizon, ImpossibleHorizonError
from clinical.worldmodel.hazards import Hazards
from clinical.worldmodel.readout import RawReadouts, log_odds


def days_of(horizon: Horizon) -> tuple[float, float]:
    """Start and end in days after the question.

    Raises:
        ImpossibleHorizonError: it has no end of which a day could be told.
    """
    if horizon.end is None:
        raise ImpossibleHorizonError("a course can be foretold up to some day only")
    day = timedelta(days=1)
    return horizon.start / day, horizon.end / day


def is_told(raw: RawReadouts, windows: Sequence[tuple[float, float]], horizon: Horizon) -> bool:
    """Whether what was read out speaks of the whole of `horizon`."""
    _, end = days_of(horizon)
    if raw.hazards is None:
        return end <= windows[-1][1]
    return _spans(raw.hazards, end) or _spans(raw.beyond, end)


def _spans(hazards: Hazards | None, end: float) -> bool:
    # The bins are kept in float32.
    return hazards is not None and end <= float(hazards.bins[-1, 1]) * (1 + 1e-6)


def cumulative_log_odds(
    raw: RawReadouts, windows: Sequence[tuple[float, float]], horizon: Horizon
) -> Float[Tensor, "n K F"]:
    """The log odds of at least one happening in `horizon`, of all of which `raw` must speak.

    From the hazards where the model has them, otherwise from the intensities of the trained
    `windows`, which come first in `raw`: each counts by the share of it that `horizon` covers. Either
    way a window within another is never more likely than it.
    """
    start, end = days_of(horizon)
    hazards = raw.hazards if raw.beyond is None or _spans(raw.hazards, end) else raw.beyond
    if hazards is not None:
        bounds = hazards.bins.new_tensor([[[start, end]]]).expand(len(raw.intensity), -1, -1)
        return log_odds(hazards.intensity(bounds)[:, 0])
    shares = [
        max(0.0, min(end, last) - max(start, first)) / (last - first) for first, last in windows
    ]
    weights = raw.intensity.new_tensor(shares)[:, None, None]
    return log_odds((raw.intensity[:, : len(windows)] * weights).sum(1))
