"""Where a subscription stands, moved by what is heard and done; and what is due to be done.

Immutable: each move gives a new state. What a move found is compared before and after by whoever
writes the audit log.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from clinical.subscription.counting import Count, Gap
from clinical.subscription.notification import Notification, NotificationKind, Standing
from clinical.subscription.plan import SubscriptionPlan

_SHORTEST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=5)
_GRACE = 2  # heartbeats
_DOWN = (Standing.ERROR, Standing.OFF, Standing.GONE)


class Due(StrEnum):
    """What is to be done about a subscription, in this order."""

    READ = "read"  # records that were named and not sent
    EVENTS = "events"  # missing events, by `$events`
    QUERY = "query"  # everything that changed since the watermark
    GIVE_UP = "give_up"  # nobody can be asked for what is missing
    STATUS = "status"  # it is silent: ask how it is
    REACTIVATE = "reactivate"
    RENEW = "renew"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionState:
    """One subscription. `watermark` is by the EHR's clock: nothing that changed before it is missing."""

    subscription_id: UUID
    site: str
    name: str
    began_at: datetime
    watermark: datetime
    ehr_id: str = ""
    standing: Standing = Standing.UNKNOWN
    count: Count = field(default_factory=Count)
    heard_at: datetime | None = None  # the last notification of any kind
    told_at: datetime | None = None  # the last answer to `$status`
    queried_at: datetime | None = None
    read_at: datetime | None = None
    query_owed_since: datetime | None = None
    events_asked_at: datetime | None = None  # when `$events` was last answered
    has_no_events: bool = False  # the EHR has no `$events`
    ends_at: datetime | None = None
    num_failures: int = 0
    failure_code: str = ""
    rests_until: datetime | None = None  # nothing is asked of the EHR before
    error_codes: tuple[str, ...] = ()

    def heard(
        self,
        notification: Notification,
        plan: SubscriptionPlan | None,
        at: datetime,
        *,
        told_by: UUID | None = None,
    ) -> "SubscriptionState":
        """After a notification, in the delivery `told_by`.

        `plan` is None where the sites file knows the subscription no longer.
        """
        heard = replace(
            self,
            ehr_id=self.ehr_id or notification.ehr_id,
            heard_at=at if notification.kind is not NotificationKind.REPLAY else self.heard_at,
            error_codes=notification.error_codes,
        )
        heard = heard.standing_as(notification.standing or self._believed(notification), at)
        if plan is not None and plan.has_running_counters:
            heard = heard.counted(notification, at, told_by=told_by)
        if notification.needs_query:
            heard = heard.owing_query(at)
        return heard

    def _believed(self, notification: Notification) -> Standing:
        """Whoever notifies is active, unless it says otherwise."""
        return self.standing if notification.kind is NotificationKind.REPLAY else Standing.ACTIVE

    def counted(
        self, notification: Notification, at: datetime, *, told_by: UUID | None = None
    ) -> "SubscriptionState":
        """After these event numbers and this total."""
        highest, total = self.count.highest, notification.total
        is_new_count = (
            notification.kind in (NotificationKind.HANDSHAKE, NotificationKind.STATUS)
            and total is not None
            and highest is not None
            and total < highest
        )
        if is_new_count and total is not None:
            # What came between the last word by the old numbers and this one has no number now.
            return replace(self, count=self.count.restarted(total)).owing_query(at)
        # An answer to `$events` counts what it replays; its total may be that of the past.
        stated = None if notification.kind is NotificationKind.REPLAY else total
        count = self.count.heard(notification.numbers, stated, at, told_by=told_by)
        return replace(self, count=count)

    def owing_query(self, at: datetime) -> "SubscriptionState":
        """Something changed of which it was not said what."""
        return replace(self, query_owed_since=self.query_owed_since or at)

    def complete(self, stated_at: datetime | None, at: datetime) -> "SubscriptionState":
        """Nothing is missing by now: the watermark moves, never back and never ahead of our clock."""
        if stated_at is None or self.count.gaps or self.query_owed_since is not None:
            return self
        return replace(self, watermark=max(self.watermark, min(stated_at, at)))

    def queried(self, since: datetime, at: datetime) -> "SubscriptionState":
        """All that changed up to `since` (the EHR's clock, when the queries began) was got; `at` by ours."""
        owed = self.query_owed_since
        return replace(
            self,
            count=self.count.covered(at),
            watermark=max(self.watermark, since),
            queried_at=at,
            query_owed_since=owed if owed is not None and owed > at else None,
        )

    def told(
        self, answer: Notification, plan: SubscriptionPlan, at: datetime
    ) -> "SubscriptionState":
        """After the EHR was asked how the subscription is."""
        counted = self.counted(answer, at) if plan.has_running_counters else self
        told = replace(counted, told_at=at, error_codes=answer.error_codes)
        told = told.standing_as(answer.standing or self.standing, at)
        # Silence where there should be heartbeats may hide what no number tells of.
        is_counted = plan.has_running_counters or plan.is_silence_usual
        return told if is_counted else told.owing_query(at)

    def having_read(self, at: datetime) -> "SubscriptionState":
        """A round of records was read."""
        return replace(self, read_at=at)

    def having_asked(self, at: datetime) -> "SubscriptionState":
        """`$events` was answered for all that was overdue at this moment."""
        return replace(self, events_asked_at=at)

    def without_events(self) -> "SubscriptionState":
        """The EHR has no `$events`."""
        return replace(self, has_no_events=True)

    def having_given_up(self, before: datetime, at: datetime) -> "SubscriptionState":
        """Nobody looks any more for what was found missing by `before`."""
        return replace(self, count=self.count.given_up(before, at))

    def standing_as(self, standing: Standing, at: datetime) -> "SubscriptionState":
        """As the EHR shows it. While it was down the EHR need not have counted what happened."""
        went_down = standing in _DOWN and self.standing not in _DOWN
        moved = replace(self, standing=standing)
        return moved.owing_query(at) if went_down else moved

    def requested(self, at: datetime) -> "SubscriptionState":
        """We asked for it again: what happened until the EHR does so is to be asked for."""
        return replace(self, standing=Standing.REQUESTED, told_at=at).owing_query(at)

    def lasting(self, ends_at: datetime | None, at: datetime) -> "SubscriptionState":
        """It was renewed."""
        return replace(self, ends_at=ends_at, told_at=at)

    def made(
        self, ehr_id: str, ends_at: datetime | None, at: datetime, *, is_new: bool = True
    ) -> "SubscriptionState":
        """The EHR holds it under this id. Another id than before counts anew, from nothing if it `is_new`."""
        is_same = ehr_id == self.ehr_id
        made = self if is_same or not self.ehr_id else self.owing_query(at)
        return replace(
            made,
            ehr_id=ehr_id,
            ends_at=ends_at,
            told_at=at,
            standing=Standing.REQUESTED,
            count=self.count if is_same else Count(highest=0 if is_new else None),
            has_no_events=False,
        )

    def failed(
        self, code: str, at: datetime, retry_after: timedelta | None = None
    ) -> "SubscriptionState":
        """The EHR could not be asked: leave it for as long as it says, or twice as long as last time."""
        pause = min(_SHORTEST_PAUSE * 2 ** min(self.num_failures, 20), _LONGEST_PAUSE)
        return replace(
            self,
            num_failures=self.num_failures + 1,
            failure_code=code,
            rests_until=at + max(pause, retry_after or pause),
        )

    def succeeded(self) -> "SubscriptionState":
        """The EHR answers."""
        return replace(self, num_failures=0, failure_code="", rests_until=None)

    def due(self, plan: SubscriptionPlan, at: datetime, *, num_unread: int = 0) -> tuple[Due, ...]:
        """What is to be done now; `num_unread` records wait to be read."""
        if self.rests_until is not None and at < self.rests_until:
            return ()
        wanted = {
            Due.READ: num_unread > 0 and _is_past(self.read_at, plan.read_pause, at),
            Due.EVENTS: self._wants_events(plan, at),
            Due.QUERY: self._wants_query(plan, at),
            Due.GIVE_UP: not plan.queries and self._is_lost(plan, at),
            Due.STATUS: self._is_silent(plan, at),
            Due.REACTIVATE: self._wants_reactivation(plan),
            Due.RENEW: self._wants_renewal(plan, at),
        }
        return tuple(each for each, is_wanted in wanted.items() if is_wanted)

    def _wants_events(self, plan: SubscriptionPlan, at: datetime) -> bool:
        if not self._can_ask_events or self.query_owed_since is not None:
            return False
        return any(not self._was_asked(gap) for gap in self.count.overdue(at - plan.patience))

    def _wants_query(self, plan: SubscriptionPlan, at: datetime) -> bool:
        if not plan.queries or not _is_past(self.queried_at, plan.query_pause, at):
            return False
        is_periodic = plan.query_period is not None and _is_past(
            self.queried_at or self.began_at, plan.query_period, at
        )
        return self.query_owed_since is not None or is_periodic or self._is_lost(plan, at)

    def _is_lost(self, plan: SubscriptionPlan, at: datetime) -> bool:
        """Whether something is missing that `$events` cannot bring, or did not bring in time."""
        overdue = self.count.overdue(at - plan.patience)
        if not self._can_ask_events:
            return bool(overdue)
        asked_at = self.events_asked_at
        is_waited = asked_at is not None and at - asked_at >= plan.patience
        return is_waited and any(self._was_asked(gap) for gap in overdue)

    @property
    def _can_ask_events(self) -> bool:
        return bool(self.ehr_id) and not self.has_no_events

    def _was_asked(self, gap: Gap) -> bool:
        return self.events_asked_at is not None and gap.found_at <= self.events_asked_at

    def _is_silent(self, plan: SubscriptionPlan, at: datetime) -> bool:
        if plan.heartbeat is None or not self.ehr_id or self.standing is Standing.GONE:
            return False
        words = [moment for moment in (self.heard_at, self.told_at) if moment is not None]
        return _is_past(max(words, default=self.began_at), plan.heartbeat * _GRACE, at)

    def _wants_reactivation(self, plan: SubscriptionPlan) -> bool:
        is_down = self.standing in (Standing.ERROR, Standing.OFF) and bool(self.ehr_id)
        is_whole = self.query_owed_since is None and not self.count.sought
        return plan.is_ours and is_down and (is_whole or not plan.queries)

    def _wants_renewal(self, plan: SubscriptionPlan, at: datetime) -> bool:
        if plan.lifetime is None or self.ends_at is None or self.standing is Standing.GONE:
            return False
        return at >= self.ends_at - plan.lifetime / 4


def _is_past(since: datetime | None, length: timedelta, at: datetime) -> bool:
    return since is None or at - since >= length
