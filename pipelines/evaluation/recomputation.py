"""Has a sample of the stored predictions computed again, each with its outcome.

Does not know how the model is reached, nor what makes two answers equal.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from clinical.errors import NotFoundError
from clinical.prediction.replay import Replay
from clinical.services.ports import ModelBusyError, ModelUnavailableError
from clinical.services.replay import ChangedBytesError, ChangedInputError, ReplayService


@dataclass(frozen=True, slots=True)
class Replayed:
    """One prediction asked again; `what` names the parts that differ, without any value."""

    prediction_id: UUID
    replay: Replay
    what: tuple[str, ...] = ()


def sample_of(prediction_ids: Iterable[UUID], size: int, seed: int) -> list[UUID]:
    """At most `size` of them, the same for the same ids and seed, in the order of the ids."""
    ordered = sorted(prediction_ids)
    chosen = random.Random(seed).sample(ordered, min(size, len(ordered)))  # noqa: S311
    return sorted(chosen)


def replay(service: ReplayService, prediction_ids: Sequence[UUID]) -> list[Replayed]:
    """Ask each question again."""
    return [_replay_one(service, prediction_id) for prediction_id in prediction_ids]


def _replay_one(service: ReplayService, prediction_id: UUID) -> Replayed:
    try:
        recomputed = service.replay(prediction_id).recomputed
    except ChangedBytesError as error:
        what = tuple(f"delivery {delivery_id}" for delivery_id in error.deliveries)
        return Replayed(prediction_id, Replay.INPUT_CHANGED, what)
    except (ChangedInputError, NotFoundError):
        return Replayed(prediction_id, Replay.INPUT_CHANGED)
    except (ModelUnavailableError, ModelBusyError) as error:
        return Replayed(prediction_id, Replay.NO_ANSWER, (error.code,))
    return Replayed(prediction_id, recomputed.replay, recomputed.what)
