"""Beyond the trained reach in two steps: to the end of a first stretch, and on from there.

Knows how a plan looks from later on, and that nothing but the foretold latent is known of the time
between: the running statistics stay those of the question. Does not know when to decline.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from clinical.worldmodel.hazards import Hazards
from clinical.worldmodel.jepa import Jepa, Reading
from clinical.worldmodel.predictor import Plan
from clinical.worldmodel.readout import RawReadouts


def forecast_beyond(
    model: Jepa, reading: Reading, bounds: Float[Tensor, "Q H 2"], plan: Plan | None = None
) -> tuple[Float[Tensor, "Q H K L"], RawReadouts]:
    """As `Jepa.forecast`, of windows that end after the reach and within twice of it.

    None may be longer than the reach. Each is foretold from the end of the shortest stretch after
    which it lies in reach, whatever is asked beside it.
    """
    plan = plan or Plan.usual_care(reading.state)
    stretch, rest = first_steps(bounds, model.config.windows_days[-1][1])
    later, plans = after(model, reading, stretch, plan)
    latents, raw = model.forecast(later, rest.flatten(0, 1)[:, None], plans)
    shape = bounds.shape[:2]
    raw = RawReadouts(
        raw.quantiles.reshape(*shape, *raw.quantiles.shape[2:]),
        raw.measured.reshape(*shape, *raw.measured.shape[2:]),
        raw.intensity.reshape(*shape, *raw.intensity.shape[2:]),
        variance=None if raw.variance is None else raw.variance.reshape(*shape, -1),
    )
    hazards = hazards_beyond(model, reading, plan)
    if hazards is not None:
        raw = replace(raw, intensity=hazards.intensity(bounds), hazards=hazards)
    return latents.reshape(*shape, *latents.shape[2:]), raw


def hazards_beyond(model: Jepa, reading: Reading, plan: Plan) -> Hazards | None:
    """As `Jepa.hazards`, on to twice the reach."""
    near = model.hazards(reading, plan)
    if near is None:
        return None
    reach = reading.state.new_tensor([[[0.0, model.config.windows_days[-1][1]]]])
    later, plans = after(model, reading, reach.expand(len(reading.state), -1, -1), plan)
    far = model.hazards(later, plans)
    assert far is not None
    return near.followed_by(far)


def after(
    model: Jepa, reading: Reading, stretch: Float[Tensor, "Q H 2"], plan: Plan
) -> tuple[Reading, Plan]:
    """The patient as foretold for the end of each stretch, and the rest of the plan: `Q * H` of each."""
    assert model.transition is not None, "the model was not trained to compose"
    num = stretch.shape[1]
    passed = model.predictor(reading.state, stretch, plan).mean(2)
    state = model.transition(
        reading.state.repeat_interleave(num, dim=0), passed.flatten(0, 1), stretch.flatten(0, 1)
    )
    plans = from_later_on(repeated(plan, num), stretch[..., 1].flatten())
    return Reading(state, reading.features.repeat_interleave(num, dim=0)), plans


def first_steps(
    bounds: Float[Tensor, "Q H 2"], reach: float
) -> tuple[Float[Tensor, "Q H 2"], Float[Tensor, "Q H 2"]]:
    """The stretch to pass first, the shortest after which the window lies in reach, and what is left."""
    passed = bounds[..., 1:] - reach
    return torch.cat([torch.zeros_like(passed), passed], dim=-1), bounds - passed


def from_later_on(plan: Plan, days: Float[Tensor, " Q"]) -> Plan:
    """What is still to be done of each plan after so many days, counted from there."""
    return Plan(
        plan.actions,
        (plan.days - days[:, None]).clamp(
            min=0.0
        ),  # what was done is not seen; its time must be finite
        plan.is_action & (plan.days >= days[:, None]),
        plan.is_given,
    )


def repeated(plan: Plan, num: int) -> Plan:
    """Each plan `num` times over."""
    columns = (plan.actions, plan.days, plan.is_action, plan.is_given)
    return Plan(*(column.repeat_interleave(num, dim=0) for column in columns))
