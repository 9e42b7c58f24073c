"""The desk where CDS Hooks are answered: who calls, what is shown, within which time.

Has its own threads, as webhooks have: an EHR that asks much keeps no clinician from the page. Knows
the order of the steps. Does not know how a card is worded, nor what may be shown.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from adapters.http import cds_comparing
from adapters.http.cds_cards import Drafts, Shown, forecast_card, silent_card
from adapters.http.cds_comparing import Comparing
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
from adapters.http.cds_schemas import Card, SelectContext
from adapters.http.cds_services import SERVICES
from adapters.http.cds_site import CdsDoor, CdsSite
from adapters.http.errors import UnknownSiteError
from adapters.http.metrics import WebMetrics
from clinical.audit.entry import Act
from clinical.errors import OperationalError, RejectedError
from clinical.services.cards import Advice, Call, Silence
from clinical.services.delivery import Delivery, Door
from clinical.services.planning import DraftOrder
from clinical.services.shedding import OverloadedError
from clinical.timeline.patient import PatientRef

NUM_THREADS = 8
NUM_CONNECTIONS = NUM_THREADS + cds_comparing.NUM_THREADS
"""As many as may be in use at once: nobody at the desk waits for one."""
_PROFESSIONALS = ("Practitioner/", "PractitionerRole/")
_PARTLY = (
    "Of what was prefetched only the first page came: the rest is not in this answer, nor was it"
    " fetched from elsewhere."
)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class BusyError(OperationalError):
    """Too many calls are being answered; nothing of this one was looked at."""

    code = "cds.busy"


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
        self._threads: CapacityLimiter | None = None
        self._comparing = Comparing(door.planning, door.compare_seconds)

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
        remarks = [_PARTLY] if _is_partly(asked) else []
        if orders is None:
            advice, card_id = await self.run(self._shown, caller, asked, call)
        else:
            advice, card_id = await self.run(self._advice, caller, asked, call), None
        self._metrics.carded(asked.hook, advice.silence or "shown")
        if advice.prediction is None:
            assert advice.silence is not None
            is_shown = caller.site.shows_silence
            return [silent_card(advice.silence, caller.site.style, remarks)] if is_shown else []
        drafts = None
        if orders is not None:
            drafts = await self._comparing.drafts(advice, caller.act, orders)
            note = self.door.cards.note_shown
            card_id = await self.run(note, call, caller.act, advice, _comparison_id(drafts))
        assert card_id is not None
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

    def _shown(self, caller: Caller, asked: Asked, call: Call) -> tuple[Advice, UUID | None]:
        """What is shown of the patient, remembered in one commit."""
        took_patient = self._take_in(caller, asked)
        patient = _patient(caller, asked)
        advice, card_id = self.door.cards.show(patient.patient_id, call, caller.act)
        if advice.silence is Silence.UNKNOWN_PATIENT:
            advice = self._unknown(caller, asked, call, took_patient=took_patient)
        return advice, card_id

    def _advice(self, caller: Caller, asked: Asked, call: Call) -> Advice:
        """What may be shown; where nothing may, that is remembered."""
        took_patient = self._take_in(caller, asked)
        advice = self.door.cards.advise(_patient(caller, asked).patient_id)
        if advice.silence is Silence.UNKNOWN_PATIENT:
            return self._unknown(caller, asked, call, took_patient=took_patient)
        if advice.silence is not None:
            self.door.cards.note(call, caller.act, advice.silence.value)
        return advice

    def _unknown(self, caller: Caller, asked: Asked, call: Call, *, took_patient: bool) -> Advice:
        """Of somebody of whom nothing is held: what was brought is understood later, or there is nobody."""
        if not took_patient and not asked.is_patient_absent:
            raise PrefetchUnsatisfiedError(
                "nothing is held about the patient: send the Patient as prefetch.patient"
            )
        silence = Silence.PENDING if took_patient else Silence.UNKNOWN_PATIENT
        self.door.cards.note(call, caller.act, silence.value)
        return Advice(silence=silence)

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


def _comparison_id(drafts: Drafts | None) -> UUID | None:
    if drafts is None or drafts.comparison is None:
        return None
    return drafts.comparison.question.comparison_id
