"""What a model was not made to answer: windows beyond its reach, plans it cannot read, absurd values.

Knows the sizes and the vocabulary of a model. Does not know calibration, nor the patient's history
beyond the newest value of each series.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.horizon import Horizon
from clinical.prediction.request import PredictionRequest
from clinical.worldmodel.config import ModelConfig
from clinical.worldmodel.incidence import days_of
from clinical.worldmodel.statistics import LAST, LIMIT
from clinical.worldmodel.vocabulary import Vocabulary

BEYOND_REACH = Abstention(
    AbstentionReason.HORIZON_BEYOND_REACH,
    "the window ends later than the model was trained to foretell",
)


def is_in_reach(config: ModelConfig, horizon: Horizon) -> bool:
    """Whether the latents of the window can be foretold, in one step or in two.

    In two steps: within twice the trained reach, by windows no longer than it.

    Raises:
        ImpossibleHorizonError: the window has no end.
    """
    start, end = days_of(horizon)
    trained = config.windows_days[-1][1]
    return end <= trained or (end <= config.reach_days and end - start <= trained)


def declined_question(
    config: ModelConfig,
    vocabulary: Vocabulary,
    request: PredictionRequest,
    in_reach: Sequence[Horizon],
) -> Abstention | None:
    """Why the network is not even asked; None where it can be. `in_reach` are the windows left."""
    if not in_reach:
        return BEYOND_REACH
    if any(action.code.key not in vocabulary.tokens for action in request.actions):
        return Abstention(
            AbstentionReason.UNKNOWN_ACTION, "an action of the plan is one the model never met"
        )
    if len(request.actions) > config.max_actions:
        return Abstention(
            AbstentionReason.PLAN_TOO_LONG,
            f"the model reads plans of at most {config.max_actions} actions",
        )
    return None


def implausible(features: Float[Tensor, "1 S F"]) -> Abstention | None:
    """Whether the newest value of some series lies where the network cannot tell values apart."""
    if bool((features[0, :, LAST].abs() < LIMIT).all()):
        return None
    return Abstention(
        AbstentionReason.IMPLAUSIBLE_VALUE,
        f"a newest value lies {LIMIT:.0f} standard deviations or more from those of training",
    )
