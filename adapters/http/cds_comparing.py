"""The course with draft orders and without them, for somebody who does not wait long.

Two threads ask the model; what comes too late is stored all the same, and shown when it is asked for
again. Knows time. Does not know what is compared.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

from adapters.http.cds_cards import Drafts
from clinical.audit.entry import Act
from clinical.errors import ClinicalError, Loudness
from clinical.prediction.outcome import Risk
from clinical.prediction.plan import PLANNABLE_RISKS
from clinical.prediction.prediction import Prediction
from clinical.services.cards import Advice
from clinical.services.planning import DraftOrder, OrdersCompared, PlanningService

NUM_THREADS = 2
_MAX_OWED = 8
_SLOW = (
    "The course with the draft is not foretold in time; what is shown is the stored forecast alone."
)
_NO_MODEL = "No model answers now: the course with the draft is not foretold."
_NOT_PLANNED = "The course with the draft cannot be foretold: the model does not know it as a plan."
_NOTHING_SAID = (
    "The model says nothing that hangs on a plan, so the draft is compared with nothing."
)
_NO_DRAFT = "No draft order was named."

Question = tuple[UUID, tuple[DraftOrder, ...], tuple[Risk, ...]]


class Comparing:
    """One for each desk."""

    def __init__(self, planning: PlanningService, seconds: float) -> None:
        """Nothing is asked yet; `seconds` is how long a caller waits."""
        self._planning = planning
        self._seconds = seconds
        self._running: dict[Question, Future[OrdersCompared]] = {}
        self._threads = ThreadPoolExecutor(NUM_THREADS, "compare")

    async def drafts(self, advice: Advice, act: Act, orders: Sequence[DraftOrder]) -> Drafts:
        """A comparison, or in a sentence why there is none."""
        prediction, review = advice.prediction, advice.review
        assert prediction is not None
        risks = _plannable(prediction)
        if not orders:
            return Drafts(sentence=_NO_DRAFT)
        if review is None or not risks:
            return Drafts(sentence=_NOTHING_SAID)
        try:
            found = await self._in_time(review.review_id, act, orders, risks)
        except TimeoutError:
            return Drafts(sentence=_SLOW)
        except ClinicalError as error:
            if error.loudness is Loudness.BROKEN:
                raise
            is_away = error.loudness is Loudness.OPERATIONAL
            return Drafts(sentence=_NO_MODEL if is_away else _NOT_PLANNED)
        if found.stored is None:
            return Drafts(sentence=_NOT_PLANNED, unknown=found.unknown)
        return Drafts(comparison=found.stored, unknown=found.unknown)

    async def _in_time(
        self, review_id: UUID, act: Act, orders: Sequence[DraftOrder], risks: Sequence[Risk]
    ) -> OrdersCompared:
        """Wait so long and no longer: what comes later is stored, and shown when it is asked again.

        Raises:
            TimeoutError: it took longer, or too many others wait.
        """
        question = (review_id, tuple(orders), tuple(risks))
        future = self._running.get(question)  # one answer will do for all who ask the same
        if future is None:
            if len(self._running) >= _MAX_OWED:
                raise TimeoutError
            future = self._threads.submit(
                self._planning.compare_orders, review_id, act, orders, risks
            )
            self._running[question] = future
            loop = asyncio.get_running_loop()
            future.add_done_callback(
                lambda _: loop.call_soon_threadsafe(self._running.pop, question, None)
            )
        waiting = asyncio.wrap_future(future)
        done, _ = await asyncio.wait({waiting}, timeout=self._seconds)
        if not done:
            waiting.add_done_callback(_forget)
            raise TimeoutError
        return waiting.result()


def _forget(late: "asyncio.Future[OrdersCompared]") -> None:
    """Look at how it ended, or asyncio would complain of it aloud."""
    if not late.cancelled():
        late.exception()


def _plannable(prediction: Prediction) -> tuple[Risk, ...]:
    said = {r.name for r in prediction.forecast.readouts if r.estimate is not None}
    return tuple(risk for risk in PLANNABLE_RISKS if risk.value in said)
