"""What a notification does to its subscription; shared by whoever hears of one. Not a journey itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.services.delivery import Delivery, Quarantined
from clinical.services.messages import Message, MessageKind, key_of
from clinical.services.ports import Clock, Identities, UnitOfWork
from clinical.subscription.counting import Gap
from clinical.subscription.notification import Notification, NotificationKind
from clinical.subscription.plan import SubscriptionPlan
from clinical.subscription.state import SubscriptionState

FOREIGN_SUBSCRIPTION = "subscription.foreign_id"
ERROR_TOLD = "subscription.error_told"
GAP_GIVEN_UP = "subscription.gap_given_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """How subscriptions are followed: the plan of each, by our id of it."""

    identities: Identities
    clock: Clock
    plans: Mapping[UUID, SubscriptionPlan] = field(default_factory=dict)

    def heard(
        self, uow: UnitOfWork, delivery: Delivery, notification: Notification, act: Act
    ) -> None:
        """Move the subscription, remember what is to be read, and owe it; the caller commits."""
        state = uow.subscriptions.hold(delivery.site, notification.name, act.at)
        plan = self.plans.get(state.subscription_id)
        self._note_told(uow, delivery, state, notification, act.at)
        self._remember(uow, delivery, state, notification, act.at)
        if not _is_foreign(state, notification):
            moved = state.heard(notification, plan, act.at, told_by=delivery.delivery_id)
        elif plan is not None and _is_made_anew(plan, notification):
            made = state.made(notification.ehr_id, None, act.at, is_new=False)
            moved = made.heard(notification, plan, act.at, told_by=delivery.delivery_id)
        else:  # what it says of itself does not count here
            moved = state.owing_query(act.at)
        is_counted = plan is not None and plan.has_running_counters
        if is_counted and not uow.subscriptions.num_unread(state.subscription_id):
            moved = moved.complete(notification.stated_at, act.at)
        uow.subscriptions.save(moved)
        self.note_move(uow, state, moved, act)
        if plan is not None and moved.due(
            plan, act.at, num_unread=uow.subscriptions.num_unread(state.subscription_id)
        ):
            uow.outbox.add(self.fetch(state.subscription_id))

    def fetch(self, subscription_id: UUID) -> Message:
        """The message that owes whatever is due for a subscription."""
        return Message(
            message_id=self.identities.new(),
            kind=MessageKind.FETCH,
            subject_id=subscription_id,
            created_at=self.clock.now(),
            coalesce_key=key_of(MessageKind.FETCH, subscription_id),
        )

    def note_move(
        self,
        uow: UnitOfWork,
        before: SubscriptionState,
        after: SubscriptionState,
        act: Act,
        *,
        how: str = "heard",
    ) -> None:
        """Tell the audit log of another standing, and of gaps found, closed and given up."""
        named = {"subscription": before.subscription_id, "how": how}
        if (before.standing, before.ehr_id) != (after.standing, after.ehr_id):
            self._audit(
                uow, act, AuditKind.SUBSCRIPTION_MOVED, standing=after.standing.value, **named
            )
        old, new = before.count, after.count
        known = old.highest or 0
        if found := [gap for gap in new.sought if gap.last > known]:
            first, last = found[0].first, found[-1].last
            self._audit(uow, act, AuditKind.GAP_FOUND, first=first, last=last, **named)
        if old.sought and not any(gap.first <= known for gap in new.sought):
            first, last = old.sought[0].first, old.sought[-1].last
            is_given_up = any(gap.given_up_at is not None for gap in new.gaps)
            kind = AuditKind.GAP_GIVEN_UP if is_given_up else AuditKind.GAP_CLOSED
            self._audit(uow, act, kind, first=first, last=last, **named)
        given_up = set(new.gaps) - set(new.sought) - set(old.gaps)
        for gap in sorted(given_up, key=lambda gap: gap.first):
            if gap.told_by is not None:
                uow.inbox.quarantine(gap.told_by, act.at, [_given_up(gap)])

    def _remember(
        self,
        uow: UnitOfWork,
        delivery: Delivery,
        state: SubscriptionState,
        notification: Notification,
        at: datetime,
    ) -> None:
        """What is to be read; of events heard before under the same id nothing is read again."""
        plan = self.plans.get(state.subscription_id)
        happened = notification.happened
        if plan is not None and plan.has_unique_event_ids:
            named = [each.event_id for each in happened if each.event_id]
            unheard = uow.subscriptions.unheard_events(state.subscription_id, named, at)
            happened = tuple(e for e in happened if not e.event_id or e.event_id in unheard)
        refs = list(dict.fromkeys(ref for each in happened for ref in each.unread))
        if refs:
            uow.subscriptions.add_unread(state.subscription_id, refs, delivery.delivery_id)

    def _note_told(
        self,
        uow: UnitOfWork,
        delivery: Delivery,
        state: SubscriptionState,
        notification: Notification,
        at: datetime,
    ) -> None:
        """Set aside what an operator should see: errors that the EHR tells, an id that is not ours."""
        told = []
        if _is_foreign(state, notification):
            told.append((FOREIGN_SUBSCRIPTION, "subscription: not the one that is followed here"))
        if notification.error_codes:
            codes = ", ".join(notification.error_codes)
            told.append((ERROR_TOLD, f"error: the EHR tells of an error ({codes})"))
        uow.inbox.quarantine(
            delivery.delivery_id, at, [_quarantined(delivery, *each) for each in told]
        )

    def _audit(self, uow: UnitOfWork, act: Act, kind: AuditKind, **refs: object) -> None:
        uow.audit_log.append(act.entry(self.identities.new(), kind, **refs))


def _is_foreign(state: SubscriptionState, notification: Notification) -> bool:
    stated = notification.ehr_id
    return bool(stated and state.ehr_id and stated != state.ehr_id)


def _given_up(gap: Gap) -> Quarantined:
    return Quarantined(
        position=f"events {gap.first} to {gap.last}",
        record_type="Subscription",
        record_id="",
        digest="",
        reason_code=GAP_GIVEN_UP,
        detail="these events were told of and never came, and nobody can be asked for them",
    )


def _is_made_anew(plan: SubscriptionPlan, notification: Notification) -> bool:
    """Whether the EHR's people made their subscription anew: it shakes hands under another id."""
    return not plan.is_ours and notification.kind is NotificationKind.HANDSHAKE


def _quarantined(delivery: Delivery, reason_code: str, detail: str) -> Quarantined:
    return Quarantined(
        position="status",
        record_type="Subscription",
        record_id="",
        digest=delivery.digest,
        reason_code=reason_code,
        detail=detail,
    )
