"""What notifications leave open is got: once, in order of need, and without harming the EHR."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from adapters.fhir.notified import FetchedReader, NotificationReader
from adapters.fhir.subscription import Reader
from clinical.audit.entry import Act, AuditKind
from clinical.errors import OperationalError, RejectedError
from clinical.services.delivery import Delivery, Door, SetAside
from clinical.services.following import Following
from clinical.services.intake import Intake
from clinical.services.messages import MessageKind
from clinical.services.ports import (
    Fetched,
    Made,
    NoLongerHeldError,
    OpenUnitOfWork,
    UnsupportedByEhrError,
)
from clinical.services.subscribing import NotOursError, NotSubscribedError, SubscribingService
from clinical.services.subscription import SubscriptionService
from clinical.subscription.counting import Count
from clinical.subscription.notification import (
    Notification,
    NotificationKind,
    RecordRef,
    Standing,
)
from clinical.subscription.plan import SubscriptionPlan
from clinical.subscription.state import SubscriptionState
from tests.fakes import SeededIdentities, SettableClock
from tests.journeys.bundles import observation
from tests.notifications import BASE, Json, bundle, encoded, named, parameters, status

pytestmark = pytest.mark.integration

MINUTE = timedelta(minutes=1)
PLAN = SubscriptionPlan(
    site="north",
    name="labs",
    queries=("Observation",),
    patience=MINUTE,
    read_pause=timedelta(0),
    heartbeat=10 * MINUTE,
)


@dataclass
class FakeEhr:
    """Implements `EhrSource` and `SubscriptionServer`: says what the test prepared, counts what it is asked."""

    held: dict[str, Json] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    error: Exception | None = None
    has_events: bool = True
    standing: Standing = Standing.ACTIVE
    total: int | None = None
    asked: list[str] = field(default_factory=list)
    stated_at: datetime | None = None

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error

    def read(self, site: str, ref: RecordRef) -> Fetched:
        name = f"{ref.record_type}/{ref.record_id}"
        self._ask(name)
        if name in self.refused:
            raise RejectedError("not for you")
        if name not in self.held:
            is_sure = name in self.gone
            return Fetched(
                asked=name,
                body=b"",
                content_type="application/fhir+json",
                is_gone=True,
                is_surely_gone=is_sure,
            )
        body = encoded(self.held[name])
        return Fetched(asked=name, body=body, content_type="application/fhir+json")

    def search(self, site: str, query: str, since: datetime) -> Iterator[Fetched]:
        self._ask(f"{query} since {since.isoformat()}")
        entries = [{"resource": each} for each in self.held.values()]
        page = {"resourceType": "Bundle", "type": "searchset", "entry": entries}
        yield Fetched(
            asked=query,
            body=encoded(page),
            content_type="application/fhir+json",
            stated_at=self.stated_at,
        )

    def status(self, site: str, name: str, ehr_id: str) -> Notification:
        self._ask("$status")
        return Notification(
            name=name, kind=NotificationKind.STATUS, standing=self.standing, total=self.total
        )

    def events(self, site: str, name: str, ehr_id: str, first: int, last: int) -> Fetched:
        self._ask(f"$events {first}-{last}")
        if not self.has_events:
            raise UnsupportedByEhrError("no $events")
        numbers = [str(n) for n in range(first, last + 1)]
        focuses = [f"Observation/o{n}" for n in numbers]
        content = bundle(parameters("query-event", numbers=numbers, focuses=focuses))
        return Fetched(asked="$events", body=encoded(content), content_type="application/fhir+json")

    def reactivate(self, site: str, name: str, ehr_id: str) -> None:
        self._ask("reactivate")

    def renew(self, site: str, name: str, ehr_id: str) -> datetime | None:
        self._ask("renew")
        return None

    def create(self, site: str, name: str) -> Made:
        self._ask("create")
        return Made(ehr_id="s1", ends_at=None, was_there=False)

    def remove(self, site: str, name: str, ehr_id: str) -> None:
        self._ask("remove")


@dataclass
class World:
    """The services over one database, an EHR in the test's hand."""

    engine: Engine
    open_unit_of_work: OpenUnitOfWork
    clock: SettableClock
    identities: SeededIdentities
    ehr: FakeEhr = field(default_factory=FakeEhr)
    plan: SubscriptionPlan | None = PLAN

    @property
    def following(self) -> Following:
        plans = {self.plan.subscription_id: self.plan} if self.plan is not None else {}
        return Following(identities=self.identities, clock=self.clock, plans=plans)

    @property
    def intake(self) -> Intake:
        return Intake(
            **self._shared,
            readers={
                Door.FHIR_NOTIFICATION: NotificationReader(lambda _site, _name: Reader([BASE])),
                Door.FHIR_FETCHED: FetchedReader(),
            },
            following=self.following,
        )

    @property
    def service(self) -> SubscriptionService:
        return SubscriptionService(
            **self._shared,
            following=self.following,
            receive=self.intake.receive,
            source=self.ehr,
            server=self.ehr,
        )

    @property
    def subscribing(self) -> SubscribingService:
        return SubscribingService(**self._shared, following=self.following, server=self.ehr)

    @property
    def _shared(self) -> dict[str, Any]:
        return {
            "open_unit_of_work": self.open_unit_of_work,
            "clock": self.clock,
            "identities": self.identities,
        }

    def act(self) -> Act:
        return Act(actor="worker", at=self.clock.now())

    def hear(self, content: Json | bytes, **context: str) -> None:
        """Take in a notification and understand it, and whatever follows from that, but ask the EHR nothing."""
        body = content if isinstance(content, bytes) else encoded(content)
        new = Delivery(
            delivery_id=self.identities.new(),
            site="north",
            door=Door.FHIR_NOTIFICATION,
            sender_id=str(self.identities.new()),
            body=body,
            content_type="application/fhir+json",
            received_at=self.clock.now(),
            context={"subscription": "labs", **context},
        )
        receipt = self.intake.receive(new, self.act())
        self.intake.record(receipt.delivery_id, self.act())

    def fetch(self) -> None:
        """Ask for what is due, and understand what came."""
        self.service.fetch(PLAN.subscription_id, self.act())
        with self.engine.connect() as connection:
            owed = connection.execute(
                text("SELECT delivery_id FROM deliveries WHERE recorded_at IS NULL")
            ).scalars()
            ids = list(owed)
        for delivery_id in ids:
            self.intake.record(delivery_id, self.act())

    def state(self) -> SubscriptionState:
        with self.open_unit_of_work() as uow:
            state = uow.subscriptions.find(PLAN.subscription_id)
        assert state is not None
        return state

    def num_unread(self) -> int:
        with self.open_unit_of_work() as uow:
            return uow.subscriptions.num_unread(PLAN.subscription_id)

    def num_events(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(text("SELECT count(*) FROM events")) or 0)

    def owed(self) -> list[str]:
        with self.engine.connect() as connection:
            query = text("SELECT kind FROM messages WHERE state = 'waiting' ORDER BY created_at")
            return list(connection.execute(query).scalars())

    def audited(self) -> list[AuditKind]:
        with self.open_unit_of_work() as uow:
            history = uow.audit_log.history(subscription=str(PLAN.subscription_id))
        return [entry.kind for entry in history]

    def set_aside(self) -> list[SetAside]:
        with self.open_unit_of_work() as uow:
            return uow.inbox.set_aside(100)

    def make_due(self) -> None:
        """As if what was put off had been waited for; the database's clock cannot be moved."""
        with self.engine.begin() as connection:
            connection.execute(text("UPDATE unread_records SET due_at = now()"))


@pytest.fixture
def world(
    engine: Engine,
    open_unit_of_work: OpenUnitOfWork,
    frozen_clock: SettableClock,
    identities: SeededIdentities,
) -> World:
    made = World(
        engine=engine,
        open_unit_of_work=open_unit_of_work,
        clock=frozen_clock,
        identities=identities,
    )
    made.subscribing.create("north", "labs", "operator")
    made.ehr.asked.clear()
    return made


def event(number: int, *focuses: str, total: int | None = None) -> Json:
    numbers = [str(number)] * max(1, len(focuses))
    stated = parameters(numbers=numbers, focuses=focuses, total=str(total or number))
    return bundle(stated, *(named(each) for each in focuses))


def test_a_record_named_three_times_is_read_once_and_becomes_events(world: World) -> None:
    world.ehr.held["Observation/o1"] = observation("o1", "p1")
    for number in (1, 2, 3):
        world.hear(event(number, "Observation/o1"))
    assert world.owed().count(MessageKind.FETCH) == 1
    world.fetch()
    assert world.ehr.asked == ["Observation/o1"]
    assert world.num_events() == 1
    assert world.num_unread() == 0
    assert MessageKind.PREDICT in world.owed()


def test_a_record_that_is_named_again_while_it_is_read_is_read_again(world: World) -> None:
    world.hear(event(1, "Observation/o1"))
    with world.open_unit_of_work() as uow:
        (wanted,) = uow.subscriptions.unread(PLAN.subscription_id, 9)
    world.hear(event(2, "Observation/o1"))
    with world.open_unit_of_work() as uow:
        uow.subscriptions.mark_read(PLAN.subscription_id, wanted.ref, wanted.delivery_id)
        uow.commit()
    assert world.num_unread() == 1


def test_a_record_that_the_ehr_says_is_gone_is_taken_back_at_once(world: World) -> None:
    world.ehr.gone.add("Observation/o1")
    world.hear(event(1, "Observation/o1"))
    world.fetch()
    assert world.num_unread() == 0
    with world.engine.connect() as connection:
        contexts = connection.execute(
            text("SELECT context FROM deliveries WHERE door = 'fhir_fetched'")
        ).scalars()
        assert list(contexts) == [{"type": "Observation", "id": "o1", "gone": "true"}]


def test_a_record_that_is_not_found_is_looked_for_again_before_it_counts_as_gone(
    world: World,
) -> None:
    """An EHR may notify before its readers see what it stored."""
    world.hear(event(1, "Observation/o1"))
    world.fetch()
    assert world.num_unread() == 1
    world.ehr.held["Observation/o1"] = observation("o1", "p1")
    world.make_due()
    world.fetch()
    assert (world.num_unread(), world.num_events()) == (0, 1)


def test_a_record_that_is_never_found_is_taken_back_in_the_end(world: World) -> None:
    world.hear(event(1, "Observation/o1"))
    for _ in range(4):
        world.make_due()
        world.fetch()
    assert world.num_unread() == 0
    assert world.ehr.asked == ["Observation/o1"] * 4


def test_a_record_that_the_ehr_refuses_holds_up_no_other_and_is_set_aside_in_the_end(
    world: World,
) -> None:
    world.ehr.held["Observation/o2"] = observation("o2", "p1")
    world.ehr.refused.add("Observation/o1")
    world.hear(event(1, "Observation/o1", "Observation/o2"))
    world.fetch()
    assert (world.num_unread(), world.num_events()) == (1, 1)
    for _ in range(7):
        world.make_due()
        world.fetch()
    assert world.num_unread() == 0
    assert [each.reason_code for each in world.set_aside()] == ["subscription.record_refused"]


def test_a_missing_event_is_got_by_asking_for_events(world: World) -> None:
    world.ehr.held |= {f"Observation/o{n}": observation(f"o{n}", "p1") for n in (1, 2)}
    world.hear(event(2, "Observation/o2"))
    assert world.state().count.sought != ()
    world.fetch()
    world.clock.advance(MINUTE)
    world.fetch()
    assert "$events 1-1" in world.ehr.asked
    assert world.state().count == Count(highest=2)
    world.fetch()
    assert world.num_events() == 2
    assert {AuditKind.GAP_FOUND, AuditKind.GAP_CLOSED} <= set(world.audited())


def test_without_events_operation_what_changed_since_our_watermark_is_queried_for(
    world: World,
) -> None:
    world.ehr.has_events = False
    world.ehr.held["Observation/o1"] = observation("o1", "p1")
    began_at = world.state().watermark
    world.hear(event(2, total=2))
    world.clock.advance(MINUTE)
    world.fetch()
    world.fetch()
    since = (began_at - PLAN.query_overlap).isoformat()
    assert world.ehr.asked == [f"Observation since {since}"]
    assert world.num_events() == 1


def test_sekmet_has_no_events_operation_so_the_gap_is_closed_by_a_query(world: World) -> None:
    world.ehr.has_events = False
    world.hear(event(2, "Observation/o2"))
    world.fetch()
    world.clock.advance(MINUTE)
    world.fetch()
    assert world.state().has_no_events
    world.fetch()
    assert world.state().count.gaps == ()
    assert AuditKind.GAP_CLOSED in world.audited()


def test_a_gap_that_nobody_can_be_asked_about_is_given_up_and_stays_on_record(
    world: World,
) -> None:
    world.ehr.has_events = False
    world.plan = replace(PLAN, queries=())
    world.hear(event(3, "Observation/o3"))
    world.clock.advance(MINUTE)
    world.fetch()
    world.fetch()
    assert [(gap.first, gap.last) for gap in world.state().count.gaps] == [(1, 2)]
    assert world.state().count.sought == ()
    assert world.audited()[-1] is AuditKind.GAP_GIVEN_UP
    aside = [(each.reason_code, each.position) for each in world.set_aside()]
    assert aside == [("subscription.gap_given_up", "events 1 to 2")]


def test_a_storm_of_empty_notifications_makes_one_query(world: World) -> None:
    """Nobody is to use us to attack the EHR."""
    for number in range(1, 201):
        world.hear(bundle(parameters(numbers=[str(number)], total=str(number))))
    assert world.owed().count(MessageKind.FETCH) == 1
    for _ in range(20):
        world.fetch()
    assert len(world.ehr.asked) == 1


def test_a_storm_of_pings_makes_one_query_in_each_pause(world: World) -> None:
    for _ in range(50):
        world.hear(b"")
        world.fetch()
    assert len(world.ehr.asked) == 1
    world.clock.advance(PLAN.query_pause)
    world.fetch()
    assert len(world.ehr.asked) == 2
    world.fetch()
    assert len(world.ehr.asked) == 2


def test_reads_are_so_many_in_a_round_and_rounds_have_pauses(world: World) -> None:
    world.plan = replace(PLAN, max_reads=3, read_pause=timedelta(seconds=5))
    references = [f"Observation/o{n}" for n in range(10)]
    world.ehr.held |= {each: observation(each.split("/")[1], "p1") for each in references}
    world.hear(event(1, *references))
    world.fetch()
    world.fetch()
    assert len(world.ehr.asked) == 3
    world.clock.advance(timedelta(seconds=5))
    world.fetch()
    assert len(world.ehr.asked) == 6


def test_a_flood_of_heartbeats_asks_the_ehr_nothing_and_predicts_nothing(world: World) -> None:
    for _ in range(100):
        world.hear(bundle(parameters("heartbeat", total="0")))
    assert MessageKind.FETCH not in world.owed()
    assert MessageKind.PREDICT not in world.owed()
    assert world.ehr.asked == []


def test_an_ehr_that_is_busy_is_left_alone_and_the_work_is_not_lost(world: World) -> None:
    world.ehr.held["Observation/o1"] = observation("o1", "p1")
    world.ehr.error = OperationalError("busy", retry_after=10 * MINUTE)
    world.hear(event(1, "Observation/o1"))
    world.fetch()
    world.fetch()
    assert len(world.ehr.asked) == 1
    assert world.state().failure_code == "clinical.operational"
    world.ehr.error = None
    world.clock.advance(10 * MINUTE)
    world.fetch()
    assert (world.num_events(), world.state().failure_code) == (1, "")


def test_the_sweep_owes_what_became_due_once(world: World) -> None:
    world.hear(bundle(parameters("heartbeat", total="3")))
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE messages SET state = 'done'"))
    world.fetch()
    assert world.service.sweep() == 0
    world.clock.advance(MINUTE)
    assert world.service.sweep() == 1
    assert world.service.sweep() == 0


def test_a_notification_of_ten_thousand_records_is_taken_in_whole_and_read_a_round_at_a_time(
    world: World,
) -> None:
    references = [f"Observation/o{n}" for n in range(10_000)]
    world.hear(event(1, *references))
    assert world.num_unread() == 10_000
    world.fetch()
    assert len(world.ehr.asked) == PLAN.max_reads


def test_a_number_larger_than_any_counter_does_not_make_us_ask_without_end(world: World) -> None:
    world.hear(event(2**63 - 1, "Observation/o1"))
    world.clock.advance(MINUTE)
    for _ in range(3):
        world.fetch()
    assert [each.split(" ")[0] for each in world.ehr.asked] == ["Observation/o1", "Observation"]
    assert world.state().count.gaps == ()


def test_without_a_query_at_most_so_many_events_are_asked_for(world: World) -> None:
    world.plan = replace(PLAN, queries=())
    world.ehr.held["Observation/o1"] = observation("o1", "p1")
    world.hear(event(2**63 - 1, "Observation/o1"))
    world.clock.advance(MINUTE)
    world.service.fetch(PLAN.subscription_id, world.act())
    assert len([each for each in world.ehr.asked if each.startswith("$events")]) == 10


def test_a_mistake_of_ours_is_told_and_does_not_make_us_ask_without_end(world: World) -> None:
    world.ehr.error = ZeroDivisionError()
    world.hear(event(1, "Observation/o1"))
    with pytest.raises(ZeroDivisionError):
        world.fetch()
    world.fetch()
    assert len(world.ehr.asked) == 1
    assert world.state().failure_code == "clinical.broken"


def test_the_message_is_done_when_the_work_is(world: World) -> None:
    world.hear(event(1, "Observation/o1"))
    with world.open_unit_of_work() as uow:
        (owed,) = [m for m in uow.outbox.claim(9, MINUTE) if m.kind is MessageKind.FETCH]
        started = uow.outbox.start(owed.message_id, MINUTE)
        uow.commit()
    world.service.fetch(PLAN.subscription_id, world.act(), message=started)
    with world.open_unit_of_work() as uow:
        assert uow.outbox.owed(owed.message_id) is None


def test_two_workers_do_not_ask_at_once(world: World) -> None:
    world.hear(event(1, "Observation/o1"))
    with world.open_unit_of_work() as uow:
        assert uow.subscriptions.begin_work(PLAN.subscription_id, MINUTE)
        uow.commit()
    world.fetch()
    assert world.ehr.asked == []


def test_a_silent_subscription_in_error_is_queried_for_set_back_and_queried_for_again(
    world: World,
) -> None:
    world.clock.advance(20 * MINUTE)
    world.ehr.standing = Standing.ERROR
    for _ in range(4):
        world.fetch()
        world.clock.advance(MINUTE)
    kinds = [each.split(" ")[0] for each in world.ehr.asked]
    assert kinds == ["$status", "Observation", "reactivate", "Observation"]


def test_a_subscription_that_the_ehr_forgot_is_shown_as_gone(world: World) -> None:
    world.clock.advance(20 * MINUTE)
    world.ehr.error = NoLongerHeldError("gone")
    world.fetch()
    assert world.state().standing is Standing.GONE
    assert world.audited()[-1] is AuditKind.SUBSCRIPTION_MOVED


def test_a_notification_of_another_subscription_moves_no_counter_and_is_set_aside(
    world: World,
) -> None:
    foreign = parameters(
        numbers=["9"],
        focuses=["Observation/o1"],
        total="9",
        subscription=f"{BASE}/Subscription/another",
    )
    world.hear(bundle(foreign))
    assert world.state().count == Count(highest=0)
    assert [each.reason_code for each in world.set_aside()] == ["subscription.foreign_id"]
    assert world.num_unread() == 1  # what it names is the site's all the same


def test_a_subscription_that_the_ehrs_people_made_anew_is_followed_under_its_new_id(
    world: World,
) -> None:
    world.plan = replace(PLAN, is_ours=False)
    anew = parameters("handshake", total="4", subscription=f"{BASE}/Subscription/s2")
    world.hear(bundle(anew))
    assert (world.state().ehr_id, world.state().count) == ("s2", Count(highest=4))
    assert world.state().query_owed_since is not None  # what was told under neither id


def test_a_record_that_is_deleted_twice_is_taken_back_twice(world: World) -> None:
    world.ehr.gone.add("Observation/o1")
    for number in (1, 2):
        world.hear(event(number, "Observation/o1"))
        world.fetch()
    with world.engine.connect() as connection:
        query = text("SELECT count(*) FROM deliveries WHERE context ->> 'gone' = 'true'")
        assert connection.scalar(query) == 2


def test_an_error_that_the_ehr_tells_is_set_aside_by_its_code(world: World) -> None:
    error = {"coding": [{"code": "no-response"}], "text": "Mary Miller"}
    world.hear(bundle(parameters("heartbeat", status="error", errors=[error])))
    assert [each.detail for each in world.set_aside()] == [
        "error: the EHR tells of an error (no-response)"
    ]
    assert world.state().standing is Standing.ERROR


def athena(event_id: str, focus: str) -> Json:
    told = {"id": event_id, "eventNumber": "1", "focus": {"reference": focus}}
    stated = status(eventsSinceSubscriptionStart="1", notificationEvent=[told])
    return bundle(stated, named(focus))


def test_athenahealth_an_event_that_is_replayed_days_later_is_not_read_again(world: World) -> None:
    world.plan = replace(PLAN, has_running_counters=False, has_unique_event_ids=True)
    world.ehr.held["Observation/o1"] = observation("o1", "p1")
    world.hear(athena("e1", "Observation/o1"))
    world.fetch()
    world.hear(athena("e1", "Observation/o1"))
    assert world.num_unread() == 0
    world.hear(athena("e2", "Observation/o1"))
    assert world.num_unread() == 1


def test_athenahealth_numbers_that_begin_anew_open_no_gap(world: World) -> None:
    world.plan = replace(PLAN, has_running_counters=False)
    for number in range(5):
        world.hear(athena(f"e{number}", f"Observation/o{number}"))
    assert world.state().count == Count(highest=0)
    assert AuditKind.GAP_FOUND not in world.audited()


def test_a_notification_whose_subscription_left_the_sites_file_is_kept_and_asks_nothing(
    world: World,
) -> None:
    world.plan = None
    world.hear(event(1, "Observation/o1"))
    world.service.fetch(PLAN.subscription_id, world.act())
    assert world.ehr.asked == []
    assert world.num_unread() == 1


def test_what_is_made_and_removed_is_in_the_log(world: World) -> None:
    assert world.audited() == [AuditKind.SUBSCRIPTION_MOVED]
    world.subscribing.remove("north", "labs", "operator")
    assert world.audited() == [AuditKind.SUBSCRIPTION_MOVED] * 2
    with world.open_unit_of_work() as uow:
        assert uow.subscriptions.all() == []
    with pytest.raises(NotSubscribedError):
        world.subscribing.renew("north", "labs", "operator")


def test_what_the_ehrs_people_made_is_not_touched(world: World) -> None:
    world.plan = replace(PLAN, is_ours=False)
    for act in (world.subscribing.create, world.subscribing.renew, world.subscribing.remove):
        with pytest.raises(NotOursError):
            act("north", "labs", "operator")
    assert world.ehr.asked == []


def test_a_state_comes_back_as_it_was_kept(world: World) -> None:
    now = world.clock.now()
    state = replace(
        world.state(),
        count=Count(highest=9).heard([20, 15], None, now).given_up(now, now),
        error_codes=("a", "b"),
        standing=Standing.OFF,
        rests_until=now,
    )
    with world.open_unit_of_work() as uow:
        uow.subscriptions.hold("north", "labs", now)
        uow.subscriptions.save(state)
        uow.commit()
    assert world.state() == state
