"""Follow what the EHRs' subscriptions leave open: records named, events missing, silence, an end.

Notifications only move a subscription's state and are answered at once; everything that asks the EHR
is here, one round at a time for each subscription. What fails is not lost with its message: the
state says what is due, and the sweep owes it again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from clinical.audit.entry import Act
from clinical.errors import ClinicalError, OperationalError, RejectedError
from clinical.services.delivery import Delivery, Door, Quarantined
from clinical.services.following import Following
from clinical.services.messages import Message
from clinical.services.ports import (
    Clock,
    EhrSource,
    Fetched,
    Identities,
    NoLongerHeldError,
    OpenUnitOfWork,
    Receive,
    SubscriptionServer,
    Unread,
    UnsupportedByEhrError,
)
from clinical.subscription.counting import ranges_of
from clinical.subscription.notification import RecordRef, Standing
from clinical.subscription.plan import SubscriptionPlan
from clinical.subscription.state import Due, SubscriptionState

NOT_READABLE = "subscription.record_refused"

_LEASE = timedelta(minutes=5)
_NOT_THERE_YET = timedelta(seconds=30)  # an EHR may notify before its readers see what it stored
_MOST_MISSES = 3
_MOST_REFUSALS = 7
_EVENTS_AT_ONCE = 1000
_MOST_EVENTS = 10_000  # more are better queried for
_EVENT_IDS_KEPT = timedelta(days=8)  # athenahealth replays its dead letters for seven days


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionService:
    """Asks the EHR for what its notifications left open."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    following: Following
    receive: Receive
    source: EhrSource
    server: SubscriptionServer

    @property
    def plans(self) -> Mapping[UUID, SubscriptionPlan]:
        """Every subscription that is followed."""
        return self.following.plans

    def sweep(self) -> int:
        """Owe whatever is due by now; for how many subscriptions."""
        if not self.plans:
            return 0
        now, owed = self.clock.now(), 0
        with self.open_unit_of_work() as uow:
            for state in uow.subscriptions.idle():
                plan = self.plans.get(state.subscription_id)
                has_reads = uow.subscriptions.has_due_reads(state.subscription_id)
                if plan is not None and state.due(plan, now, num_unread=int(has_reads)):
                    owed += uow.outbox.add(self.following.fetch(state.subscription_id))
            uow.subscriptions.forget_events(now - _EVENT_IDS_KEPT)
            uow.commit()
        return owed

    def fetch(self, subscription_id: UUID, act: Act, *, message: Message | None = None) -> None:
        """Do what is due, unless somebody else is at it.

        What the EHR does not do now is due again after a pause that the state remembers: the message
        is done either way.
        """
        plan = self.plans.get(subscription_id)
        if plan is not None and self._begin(plan):
            try:
                self._do_all(plan, act)
            except Exception:
                self._move(plan, act, _failed(ClinicalError()), how="broken")
                raise
            finally:
                self._end(plan)
        if message is not None:
            with self.open_unit_of_work() as uow:
                uow.outbox.done(message)
                uow.commit()

    def _begin(self, plan: SubscriptionPlan) -> bool:
        with self.open_unit_of_work() as uow:
            is_ours = uow.subscriptions.begin_work(plan.subscription_id, _LEASE)
            uow.commit()
        return is_ours

    def _end(self, plan: SubscriptionPlan) -> None:
        with self.open_unit_of_work() as uow:
            uow.subscriptions.end_work(plan.subscription_id)
            uow.commit()

    def _do_all(self, plan: SubscriptionPlan, act: Act) -> None:
        steps: Mapping[Due, Callable[[SubscriptionPlan, Act], None]] = {
            Due.READ: self._read,
            Due.EVENTS: self._ask_events,
            Due.QUERY: self._query,
            Due.GIVE_UP: self._give_up,
            Due.STATUS: self._ask_status,
            Due.REACTIVATE: self._reactivate,
            Due.RENEW: self._renew,
        }
        wanted = self._due(plan)
        for due in wanted:
            try:
                steps[due](plan, act)
            except NoLongerHeldError:
                self._move(
                    plan, act, lambda state, at: state.standing_as(Standing.GONE, at), how=due.value
                )
            except ClinicalError as error:
                self._move(plan, act, _failed(error), how=due.value)
                return
        if wanted:
            self._move(plan, act, lambda state, _: state.succeeded(), how="done")

    def _due(self, plan: SubscriptionPlan) -> tuple[Due, ...]:
        with self.open_unit_of_work() as uow:
            state = uow.subscriptions.find(plan.subscription_id)
            num = int(uow.subscriptions.has_due_reads(plan.subscription_id))
        return () if state is None else state.due(plan, self.clock.now(), num_unread=num)

    def _read(self, plan: SubscriptionPlan, act: Act) -> None:
        with self.open_unit_of_work() as uow:
            wanted = uow.subscriptions.unread(plan.subscription_id, plan.max_reads)
        for each in wanted:
            try:
                fetched = self.source.read(plan.site, each.ref)
            except RejectedError as error:
                self._refused(plan, each, error)
                continue
            if fetched.is_gone and not fetched.is_surely_gone and each.num_missed < _MOST_MISSES:
                self._put_off(plan, each)
                continue
            self._store(plan, fetched, Door.FHIR_FETCHED, act, _gone_context(fetched, each.ref))
            self._mark_read(plan, each)
        self._move(plan, act, lambda state, at: state.having_read(at), how=Due.READ.value)

    def _ask_events(self, plan: SubscriptionPlan, act: Act) -> None:
        state, asked_at = self._state(plan), self.clock.now()
        missing = state.count.overdue(asked_at - plan.patience)
        if plan.queries and sum(gap.num_missing for gap in missing) > _MOST_EVENTS:
            self._move(plan, act, lambda state, at: state.owing_query(at), how=Due.EVENTS.value)
            return
        try:
            for first, last in ranges_of(missing, most=_MOST_EVENTS, at_once=_EVENTS_AT_ONCE):
                fetched = self.server.events(plan.site, plan.name, state.ehr_id, first, last)
                self._store(plan, fetched, Door.FHIR_NOTIFICATION, act, {"subscription": plan.name})
                self._go_on(plan)
        except UnsupportedByEhrError:
            self._move(plan, act, lambda state, _: state.without_events(), how=Due.EVENTS.value)
            return
        self._move(plan, act, lambda state, _: state.having_asked(asked_at), how=Due.EVENTS.value)

    def _query(self, plan: SubscriptionPlan, act: Act) -> None:
        """Everything that changed since the watermark; what is held already gives nothing new."""
        state, began_at = self._state(plan), self.clock.now()
        stated: list[datetime] = []
        for query in plan.queries:
            for fetched in self.source.search(
                plan.site, query, state.watermark - plan.query_overlap
            ):
                self._store(plan, fetched, Door.FHIR_FETCHED, act, {})
                self._go_on(plan)
                if fetched.stated_at is not None:
                    stated.append(fetched.stated_at)
        since = min([began_at, *stated])
        self._move(plan, act, lambda state, _: state.queried(since, began_at), how=Due.QUERY.value)

    def _give_up(self, plan: SubscriptionPlan, act: Act) -> None:
        """Nobody can be asked: the gap stays on record, and is told until somebody imports what it holds."""
        now = self.clock.now()
        self._move(
            plan,
            act,
            lambda state, at: state.having_given_up(now - plan.patience, at),
            how=Due.GIVE_UP.value,
        )

    def _ask_status(self, plan: SubscriptionPlan, act: Act) -> None:
        told = self.server.status(plan.site, plan.name, self._state(plan).ehr_id)
        self._move(plan, act, lambda state, at: state.told(told, plan, at), how=Due.STATUS.value)

    def _reactivate(self, plan: SubscriptionPlan, act: Act) -> None:
        self.server.reactivate(plan.site, plan.name, self._state(plan).ehr_id)
        self._move(plan, act, lambda state, at: state.requested(at), how=Due.REACTIVATE.value)

    def _renew(self, plan: SubscriptionPlan, act: Act) -> None:
        ends_at = self.server.renew(plan.site, plan.name, self._state(plan).ehr_id)
        self._move(plan, act, lambda state, at: state.lasting(ends_at, at), how=Due.RENEW.value)

    def _state(self, plan: SubscriptionPlan) -> SubscriptionState:
        with self.open_unit_of_work() as uow:
            return uow.subscriptions.hold(plan.site, plan.name, self.clock.now())

    def _move(
        self,
        plan: SubscriptionPlan,
        act: Act,
        move: Callable[[SubscriptionState, datetime], SubscriptionState],
        *,
        how: str,
    ) -> None:
        """From the state as it is now: notifications may have moved it meanwhile."""
        with self.open_unit_of_work() as uow:
            now = self.clock.now()
            before = uow.subscriptions.hold(plan.site, plan.name, now)
            after = move(before, now)
            if after != before:
                uow.subscriptions.save(after)
                self.following.note_move(uow, before, after, act, how=how)
                uow.commit()

    def _go_on(self, plan: SubscriptionPlan) -> None:
        with self.open_unit_of_work() as uow:
            uow.subscriptions.keep_working(plan.subscription_id, _LEASE)
            uow.commit()

    def _put_off(self, plan: SubscriptionPlan, each: Unread) -> None:
        length = _NOT_THERE_YET * 4**each.num_missed
        with self.open_unit_of_work() as uow:
            uow.subscriptions.put_off(plan.subscription_id, each.ref, length)
            uow.subscriptions.keep_working(plan.subscription_id, _LEASE)
            uow.commit()

    def _mark_read(self, plan: SubscriptionPlan, each: Unread) -> None:
        with self.open_unit_of_work() as uow:
            uow.subscriptions.mark_read(plan.subscription_id, each.ref, each.delivery_id)
            uow.subscriptions.keep_working(plan.subscription_id, _LEASE)
            uow.commit()

    def _refused(self, plan: SubscriptionPlan, each: Unread, error: ClinicalError) -> None:
        """The EHR refuses this one record: that must not hold up the others.

        Whoever withdrew our access by mistake has two days to give it back; then it is set aside.
        """
        if each.num_missed < _MOST_REFUSALS:
            self._put_off(plan, each)
            return
        refused = Quarantined(
            position="notification",
            record_type=each.ref.record_type,
            record_id=each.ref.record_id,
            digest="",
            reason_code=NOT_READABLE,
            detail=f"the EHR named the record and refused to show it ({error.code})",
        )
        with self.open_unit_of_work() as uow:
            uow.inbox.quarantine(each.delivery_id, self.clock.now(), [refused])
            uow.subscriptions.mark_read(plan.subscription_id, each.ref, each.delivery_id)
            uow.commit()

    def _store(
        self,
        plan: SubscriptionPlan,
        fetched: Fetched,
        door: Door,
        act: Act,
        context: dict[str, str],
    ) -> None:
        delivery = Delivery(
            delivery_id=self.identities.new(),
            site=plan.site,
            door=door,
            sender_id="",
            body=fetched.body,
            content_type=fetched.content_type,
            received_at=self.clock.now(),
            context=context,
        )
        # By its bytes: whoever is told the same again has it already. That something is gone may be
        # true twice, in the same words.
        which = f"gone:{delivery.delivery_id}" if fetched.is_gone else f"sha256:{delivery.digest}"
        self.receive(delivery.named(f"{fetched.asked}@{which}"), act)


def _gone_context(fetched: Fetched, ref: RecordRef) -> dict[str, str]:
    context = {"type": ref.record_type, "id": ref.record_id}
    return {**context, "gone": "true"} if fetched.is_gone else context


def _failed(error: ClinicalError) -> Callable[[SubscriptionState, datetime], SubscriptionState]:
    retry_after = error.retry_after if isinstance(error, OperationalError) else None
    return lambda state, at: state.failed(error.code, at, retry_after)
