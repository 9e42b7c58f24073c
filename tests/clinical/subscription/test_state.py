"""What is due about a subscription, and how it moves by what is heard and done."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clinical.subscription.notification import Happened, Notification, NotificationKind, Standing
from clinical.subscription.plan import SubscriptionPlan
from clinical.subscription.state import Due, SubscriptionState

NOON = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PLAN = SubscriptionPlan(
    site="north", name="labs", queries=("Observation",), heartbeat=MINUTE, patience=MINUTE
)
RELATIVE = replace(PLAN, has_running_counters=False)
ACTIVE = SubscriptionState(
    subscription_id=PLAN.subscription_id,
    site="north",
    name="labs",
    began_at=NOON,
    watermark=NOON,
    standing=Standing.ACTIVE,
    heard_at=NOON,
).made("s1", None, NOON)


def said(kind: NotificationKind, *numbers: int, **more: Any) -> Notification:
    given = {"standing": Standing.ACTIVE, **more}
    happened = tuple(Happened(number=number) for number in numbers)
    return Notification(name="labs", kind=kind, happened=happened, **given)


EVENTS, HEARTBEAT = NotificationKind.EVENTS, NotificationKind.HEARTBEAT


def at(minutes: float) -> datetime:
    return NOON + minutes * MINUTE


def test_a_missing_event_is_waited_for_and_then_asked_for() -> None:
    state = ACTIVE.heard(said(EVENTS, 2, total=2), PLAN, NOON)
    assert state.due(PLAN, at(0.9)) == ()
    assert state.due(PLAN, at(1)) == (Due.EVENTS,)


def test_an_event_that_comes_late_is_asked_for_no_more() -> None:
    state = ACTIVE.heard(said(EVENTS, 2), PLAN, NOON).heard(said(EVENTS, 1), PLAN, at(0.5))
    assert state.due(PLAN, at(1.2)) == ()


def test_without_events_operation_everything_since_the_watermark_is_asked_for() -> None:
    state = ACTIVE.heard(said(EVENTS, 2), PLAN, NOON).without_events()
    assert state.due(PLAN, at(1)) == (Due.QUERY,)
    assert state.queried(at(1), at(1)).count.gaps == ()


def test_what_events_did_not_bring_in_time_is_queried_for() -> None:
    state = ACTIVE.heard(said(EVENTS, 2), PLAN, NOON).having_asked(at(1))
    state = replace(state, heard_at=at(1))
    assert state.due(PLAN, at(1.5)) == ()
    assert Due.QUERY in state.due(PLAN, at(2))
    assert Due.EVENTS not in state.due(PLAN, at(2))


def test_what_nobody_can_be_asked_for_is_given_up_by_name() -> None:
    blind = replace(PLAN, queries=())
    state = ACTIVE.heard(said(EVENTS, 2), blind, NOON).without_events()
    assert state.due(blind, at(1)) == (Due.GIVE_UP,)
    assert Due.GIVE_UP not in state.having_given_up(NOON, at(1)).due(blind, at(2))


def test_athenahealth_numbers_events_anew_in_each_notification_so_none_is_missing() -> None:
    state = ACTIVE
    for _ in range(3):
        state = state.heard(said(EVENTS, 1, 2, total=2), RELATIVE, NOON)
    assert state.count == ACTIVE.count
    assert state.due(RELATIVE, at(1)) == ()


def test_silence_longer_than_two_heartbeats_is_asked_about() -> None:
    assert ACTIVE.due(PLAN, at(1.9)) == ()
    assert ACTIVE.due(PLAN, at(2)) == (Due.STATUS,)
    heard = ACTIVE.heard(said(HEARTBEAT, total=0), PLAN, at(1))
    assert heard.due(PLAN, at(2)) == ()


def test_athenahealth_silence_leads_to_a_query_since_no_number_tells_what_was_lost() -> None:
    told = ACTIVE.told(said(NotificationKind.STATUS, total=2), RELATIVE, at(3))
    assert Due.QUERY in told.due(RELATIVE, at(3))


def test_hapi_has_no_heartbeats_so_silence_alone_asks_for_nothing() -> None:
    classic = replace(RELATIVE, is_silence_usual=True)
    told = ACTIVE.told(said(NotificationKind.STATUS), classic, at(3))
    assert told.due(classic, at(3)) == ()


def test_hapi_gives_up_after_a_minute_so_queries_are_made_now_and_then() -> None:
    polled = replace(RELATIVE, is_silence_usual=True, query_period=10 * MINUTE, heartbeat=None)
    assert ACTIVE.due(polled, at(9)) == ()
    assert ACTIVE.due(polled, at(10)) == (Due.QUERY,)
    assert ACTIVE.queried(at(10), at(10)).due(polled, at(19)) == ()


def test_a_subscription_in_error_is_set_back_once_nothing_is_missing() -> None:
    down = ACTIVE.told(said(NotificationKind.STATUS, total=0, standing=Standing.ERROR), PLAN, NOON)
    assert down.due(PLAN, NOON) == (Due.QUERY,)
    whole = down.queried(NOON, NOON)
    assert whole.due(PLAN, NOON) == (Due.REACTIVATE,)
    again = whole.requested(NOON)
    assert again.due(PLAN, at(0.4)) == ()
    assert again.due(PLAN, at(0.5)) == (Due.QUERY,)  # for what came in between


def test_a_subscription_of_the_ehrs_people_is_left_to_them() -> None:
    theirs = replace(PLAN, is_ours=False)
    down = ACTIVE.told(said(NotificationKind.STATUS, standing=Standing.OFF), theirs, NOON)
    assert down.queried(NOON, NOON).due(theirs, NOON) == ()


def test_a_handshake_that_counts_from_less_begins_anew_and_what_was_between_is_queried_for() -> (
    None
):
    state = ACTIVE.heard(said(EVENTS, 1, 2, 3, total=3), PLAN, NOON)
    again = state.heard(said(NotificationKind.HANDSHAKE, total=0), PLAN, NOON)
    assert again.count.highest == 0
    assert again.due(PLAN, NOON) == (Due.QUERY,)


def test_an_old_notification_that_comes_late_does_not_begin_anew() -> None:
    state = ACTIVE.heard(said(EVENTS, 1, 2, 3, total=3), PLAN, NOON)
    assert state.heard(said(EVENTS, 1, total=1), PLAN, NOON).count == state.count


def test_notifications_that_say_only_that_something_changed_make_one_query_in_each_pause() -> None:
    state = ACTIVE
    for _ in range(1000):
        state = state.heard(said(EVENTS, needs_query=True), RELATIVE, NOON)
    assert state.due(RELATIVE, NOON) == (Due.QUERY,)
    queried = state.queried(NOON, NOON).heard(
        said(EVENTS, needs_query=True), RELATIVE, NOON + timedelta(seconds=1)
    )
    assert queried.due(RELATIVE, NOON + timedelta(seconds=2)) == ()
    assert queried.due(RELATIVE, NOON + timedelta(seconds=30)) == (Due.QUERY,)


def test_a_change_told_while_the_query_ran_is_queried_for_again() -> None:
    asked = ACTIVE.heard(said(EVENTS, needs_query=True), RELATIVE, NOON)
    told_meanwhile = asked.queried(NOON, NOON - timedelta(seconds=1))
    assert told_meanwhile.query_owed_since == NOON


def test_the_watermark_moves_only_while_nothing_is_missing_and_never_ahead_of_our_clock() -> None:
    whole = ACTIVE.heard(said(EVENTS, 1, total=1), PLAN, at(1))
    assert whole.complete(at(0.8), at(1)).watermark == at(0.8)
    assert whole.complete(at(500), at(1)).watermark == at(1)
    assert whole.complete(at(-5), at(1)).watermark == NOON
    torn = whole.heard(said(EVENTS, 5), PLAN, at(2))
    assert torn.complete(at(2), at(2)).watermark == NOON


def test_an_ehr_that_asks_to_be_left_alone_is_left_alone() -> None:
    state = ACTIVE.heard(said(EVENTS, needs_query=True), PLAN, NOON)
    busy = state.failed("peer.busy", NOON, 10 * MINUTE)
    assert busy.due(PLAN, at(9)) == ()
    assert Due.QUERY in busy.due(PLAN, at(10))


def test_the_pause_after_failures_grows_to_five_minutes_and_no_further() -> None:
    state = ACTIVE
    for _ in range(50):
        state = state.failed("peer.unavailable", NOON)
    assert state.rests_until == at(5)
    assert state.succeeded().rests_until is None


def test_a_subscription_is_renewed_when_a_quarter_of_its_life_is_left() -> None:
    lasting = replace(PLAN, lifetime=8 * MINUTE, heartbeat=None)
    state = ACTIVE.lasting(at(8), NOON)
    assert state.due(lasting, at(5.9)) == ()
    assert state.due(lasting, at(6)) == (Due.RENEW,)


def test_made_under_another_id_it_counts_from_nothing_and_what_was_missed_is_queried_for() -> None:
    state = ACTIVE.heard(said(EVENTS, 1, 2, total=2), PLAN, NOON).made("s2", None, NOON)
    assert state.count.highest == 0
    assert state.due(PLAN, NOON) == (Due.QUERY,)


@pytest.mark.parametrize("kind", [HEARTBEAT, NotificationKind.HANDSHAKE])
def test_a_word_without_events_still_tells_of_those_that_were_lost(kind: NotificationKind) -> None:
    state = ACTIVE.heard(said(kind, total=3), PLAN, NOON)
    assert [(gap.first, gap.last) for gap in state.count.gaps] == [(1, 3)]
