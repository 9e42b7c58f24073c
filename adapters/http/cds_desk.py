"""The desk where CDS Hooks are answered: who calls, what is shown, within which time.

Has its own threads, as webhooks have: an EHR that asks much keeps no clinician from the page. Knows
the order of the steps. Does not know how a card is worded, nor what may be shown.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from adapters.http.cds_cards import Drafts, Shown, forecast_card, silent_card
from adapters.http.cds_requests import (
    PATIENT,
    Asked,
    Fetched,
    ForeignServerError,
    InvalidCallError,
    PrefetchUnsatisfiedError,
    UnknownServiceError,
    read_call,
)
from adapters.http.cds_schemas import Card, Hook, SelectContext
from adapters.http.cds_site import CdsDoor, CdsSite
from adapters.http.errors import UnknownSiteError
from adapters.http.metrics import WebMetrics
from clinical.audit.entry import Act
from clinical.errors import ClinicalError, Loudness, OperationalError, RejectedError
from clinical.prediction.outcome import Risk
from clinical.prediction.plan import PLANNABLE_RISKS
from clinical.prediction.prediction import Prediction
from clinical.services.cards import Advice, Call, Silence
from clinical.services.delivery import Delivery, Door
from clinical.services.planning import DraftOrder, OrdersCompared
from clinical.services.shedding import OverloadedError
from clinical.timeline.patient import PatientRef

NUM_THREADS = 8
_NUM_COMPARING = 2
_MAX_COMPARISONS_OWED = 8
_PROFESSIONALS = ("Practitioner/", "PractitionerRole/")
_PARTLY = (
    "Of what was prefetched only the first page came: the rest is not in this answer, nor was it"
    " fetched from elsewhere."
)
_SLOW = (
    "The course with the draft is not foretold in time; what is shown is the stored forecast alone."
)
_NO_MODEL = "No model answers now: the course with the draft is not foretold."
_NOT_PLANNED = "The course with the draft cannot be foretold: the model does not know it as a plan."
_NOTHING_SAID = (
    "The model says nothing that hangs on a plan, so the draft is compared with nothing."
)
_NO_DRAFT = "No draft order was named."

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class BusyError(OperationalError):
    """Too many calls are being answered; nothing of this one was looked at."""

    code = "cds.busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceKind:
    """A service: which hooks it answers, and what it is said to do."""

    service_id: str
    title: str
    description: str
    usage: str
    hooks: tuple[Hook, ...]


SERVICES = {
    kind.service_id: kind
    for kind in (
        ServiceKind(
            service_id="forecast",
            title="Forecast for review",
            description="Shows the newest stored forecast of the patient's course, for review by a clinician.",
            usage="Answers from what is stored; a patient that is not known here gets no forecast yet.",
            hooks=(Hook.PATIENT_VIEW, Hook.ENCOUNTER_START, Hook.ENCOUNTER_DISCHARGE),
        ),
        ServiceKind(
            service_id="forecast-with-orders",
            title="Forecast with and without draft orders",
            description="Shows the course foretold among similar patients with the draft orders and without them.",
            usage="Proposes no order. Drafts that the model never learned are named and left out.",
            hooks=(Hook.ORDER_SELECT, Hook.ORDER_SIGN),
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, of which site; `issuer` is None for a call without a token, where a site takes those."""

    name: str
    site: CdsSite
    issuer: str | None
    act: Act


class Desk:
    """One for each web app."""

    def __init__(self, door: CdsDoor, metrics: WebMetrics) -> None:
        """Nobody is there yet."""
        self.door = door
        self._metrics = metrics
        self._num_inside = 0
        self._num_comparing = 0
        self._threads: CapacityLimiter | None = None
        self._comparing = ThreadPoolExecutor(_NUM_COMPARING, "compare")

    def site(self, name: str) -> CdsSite:
        """The site of this name; raises UnknownSiteError."""
        found = self.door.sites.get(name)
        if found is None:
            raise UnknownSiteError("no site of this name asks here")
        return found

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Be inside for as long as the block runs; raises BusyError."""
        if self._num_inside >= self.door.max_calls_at_once:
            raise BusyError("too many calls at once")
        self._num_inside += 1
        try:
            yield
        finally:
            self._num_inside -= 1

    async def run(
        self,
        work: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Do it in one of the threads of this desk."""
        if self._threads is None:
            self._threads = CapacityLimiter(NUM_THREADS)
        return await to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._threads)

    async def answer(self, caller: Caller, service_id: str, body: bytes) -> list[Card]:
        """The cards for a call; one that is refused is remembered too.

        Raises:
            UnknownServiceError, InvalidCallError, ForeignServerError, PrefetchUnsatisfiedError
        """
        try:
            return await self._answer(caller, service_id, body)
        except RejectedError as error:
            named = service_id if service_id in SERVICES else "unknown"
            call = Call(site=caller.name, service=named, hook="")
            await self.run(self.door.cards.note, call, caller.act, error.code)
            raise

    async def _answer(self, caller: Caller, service_id: str, body: bytes) -> list[Card]:
        asked, orders = await self.run(self._understood, caller, service_id, body)
        call = _call(caller, service_id, asked)
        advice = await self.run(self._advice, caller, asked)
        remarks = [_PARTLY] if _is_partly(asked) else []
        if advice.prediction is None:
            assert advice.silence is not None
            await self.run(self.door.cards.note, call, caller.act, advice.silence.value)
            self._metrics.carded(asked.hook, advice.silence.value)
            is_shown = caller.site.shows_silence
            return [silent_card(advice.silence, caller.site.style, remarks)] if is_shown else []
        drafts = None if orders is None else await self._compared(caller, advice, orders)
        comparison_id = _comparison_id(drafts)
        card_id = await self.run(
            self.door.cards.note_shown, call, caller.act, advice, comparison_id
        )
        self._metrics.carded(asked.hook, "shown")
        shown = Shown(
            card_id=card_id,
            prediction=advice.prediction,
            review_id=advice.review.review_id if advice.review else None,
            now=caller.act.at,
        )
        return [forecast_card(shown, caller.site.style, drafts, remarks)]

    def _understood(
        self, caller: Caller, service_id: str, body: bytes
    ) -> tuple[Asked, Sequence[DraftOrder] | None]:
        kind = SERVICES.get(service_id)
        if kind is None:
            raise UnknownServiceError("no service of this id")
        asked = read_call(body, caller.site.prefetch, frozenset(kind.hooks))
        _require_own_server(asked, caller.site)
        for brought in asked.prefetch.values():
            self._metrics.prefetched(brought.fetched.value)
        return asked, self._orders(caller, asked) if asked.drafts else None

    def _orders(self, caller: Caller, asked: Asked) -> Sequence[DraftOrder]:
        """The drafts that are meant: those selected, or all."""
        patient = _patient(caller, asked)
        try:
            orders = self.door.read_orders(asked.drafts, patient, caller.act.at)
        except RejectedError as error:
            raise InvalidCallError([("context.draftOrders", str(error))]) from error
        if not isinstance(asked.context, SelectContext):
            return orders
        named = {order.reference for order in orders}
        for place, selected in enumerate(asked.context.selections):
            if selected not in named:
                raise InvalidCallError([(f"context.selections.{place}", "names no draft order")])
        return [order for order in orders if order.reference in asked.context.selections]

    def _advice(self, caller: Caller, asked: Asked) -> Advice:
        took_patient = self._take_in(caller, asked)
        advice = self.door.cards.advise(_patient(caller, asked).patient_id)
        if advice.silence is not Silence.UNKNOWN_PATIENT or asked.is_patient_absent:
            return advice
        if took_patient:
            return Advice(silence=Silence.PENDING)
        raise PrefetchUnsatisfiedError(
            "nothing is held about the patient: send the Patient as prefetch.patient"
        )

    def _take_in(self, caller: Caller, asked: Asked) -> bool:
        """Store what was brought, to be understood later; whether the Patient was among it.

        Only of a client that has proven who it is; what came before, the same again, adds nothing.
        """
        if caller.issuer is None or not caller.site.takes_prefetch:
            return False
        bodies = {key: brought.body for key, brought in asked.prefetch.items() if brought.body}
        if not asked.is_patient_there:
            bodies.pop(PATIENT, None)
        try:
            for body in bodies.values():
                self.door.intake.receive(self._delivery(caller, body), caller.act)
        except (OverloadedError, RejectedError):
            return False  # what was asked is answered all the same
        return PATIENT in bodies

    def _delivery(self, caller: Caller, body: bytes) -> Delivery:
        return Delivery(
            delivery_id=self.door.cards.identities.new(),
            site=caller.name,
            door=Door.FHIR,
            sender_id=f"cds:{hashlib.sha256(body).hexdigest()}",
            body=body,
            content_type="application/fhir+json",
            received_at=caller.act.at,
        )

    async def _compared(
        self, caller: Caller, advice: Advice, orders: Sequence[DraftOrder]
    ) -> Drafts:
        prediction, review = advice.prediction, advice.review
        assert prediction is not None
        risks = _plannable(prediction)
        if not orders:
            return Drafts(sentence=_NO_DRAFT)
        if review is None or not risks:
            return Drafts(sentence=_NOTHING_SAID)
        try:
            found = await self._in_time(review.review_id, caller.act, orders, risks)
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
        if self._num_comparing >= _MAX_COMPARISONS_OWED:
            raise TimeoutError
        self._num_comparing += 1
        future = self._comparing.submit(
            self.door.planning.compare_orders, review_id, act, orders, risks
        )
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._is_compared))
        return await asyncio.wait_for(asyncio.wrap_future(future), self.door.compare_seconds)

    def _is_compared(self) -> None:
        self._num_comparing -= 1


def _call(caller: Caller, service_id: str, asked: Asked) -> Call:
    user = asked.context.user_id
    return Call(
        site=caller.name,
        service=service_id,
        hook=asked.hook.value,
        instance=asked.call.hook_instance,
        # Patients and their relatives look, too: who they are is told to nobody.
        user=user[:100] if user.startswith(_PROFESSIONALS) else "",
    )


def _patient(caller: Caller, asked: Asked) -> PatientRef:
    return PatientRef(caller.name, asked.context.record_id)


def _require_own_server(asked: Asked, site: CdsSite) -> None:
    named = asked.call.fhir_server
    if named and site.fhir_server and named.rstrip("/") != site.fhir_server.rstrip("/"):
        raise ForeignServerError("fhirServer: not that of this site")


def _is_partly(asked: Asked) -> bool:
    return any(brought.fetched is Fetched.PARTLY for brought in asked.prefetch.values())


def _plannable(prediction: Prediction) -> tuple[Risk, ...]:
    said = {r.name for r in prediction.forecast.readouts if r.estimate is not None}
    return tuple(risk for risk in PLANNABLE_RISKS if risk.value in said)


def _comparison_id(drafts: Drafts | None) -> UUID | None:
    if drafts is None or drafts.comparison is None:
        return None
    return drafts.comparison.question.comparison_id
