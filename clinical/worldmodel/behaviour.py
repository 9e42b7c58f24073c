"""How usual an action is for a patient in this state: what is known of similar patients' care.

Knows the probes of a checkpoint and the window that they speak of. Does not know plans or how the
probes were fitted. A probe's log odds are calibrated: its weights hold the calibration.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from clinical.prediction.horizon import Horizon
from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.probe import Probes


def support_window(config: ModelConfig) -> Horizon:
    """The window in which it is counted whether an action was done: all trained ones but the last."""
    horizons = config.horizons
    return Horizon(horizons[0].start, horizons[max(0, len(horizons) - 2)].end)


def probe_name(action: str, config: ModelConfig) -> str:
    """The name of the probe for an action (`Code.key`): the action and the window."""
    return f"{action}|{support_window(config).label}"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Calibrated log odds that each action, by `Code.key`, is done within the support window."""

    log_odds: dict[str, float]


def behaviour_of(
    probes: Probes, actions: tuple[str, ...], config: ModelConfig, state: Float[Tensor, "1 D"]
) -> Behaviour:
    """What is usual for the patient of `state`; an action without a probe is not in it."""
    named = {probe.name: probe for probe in probes.behaviour}
    found = {action: named.get(probe_name(action, config)) for action in actions}
    return Behaviour(
        {action: float(p.log_odds(state)[0]) for action, p in found.items() if p is not None}
    )
