"""Eight bugs on purpose, each the real code with one thing taken away, on a real PostgreSQL.

A scenario runs the real code, or the code with its bug, through one fixed interleaving, and hands
what clients were told and what was kept to the checker. What decides the interleaving is a barrier
or a statement, never luck.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, delete, insert, select, text, update

from adapters.assembly.worker import readers
from adapters.clock import TimeOrderedIdentities
from adapters.db.audit_log import SqlAuditLog, _entry
from adapters.db.inbox import SqlInbox
from adapters.db.outbox import SqlOutbox, _message
from adapters.db.reviews import SqlReviews
from adapters.db.tables import (
    audit_entries,
    audit_heads,
    audit_leaves,
    audit_nodes,
    deliveries,
    messages,
    reviews,
)
from adapters.db.unit_of_work import SqlUnitOfWork
from clinical.audit.entry import Act, AuditEntry, AuditKind
from clinical.audit.proof import is_consistent
from clinical.audit.tree import TreeHead
from clinical.errors import OperationalError, RejectedError
from clinical.review.review import LEASE, Review
from clinical.services.audit import AuditService
from clinical.services.delivery import Delivery, Door, Reading, Reception
from clinical.services.intake import Intake, Receipt
from clinical.services.messages import Message, MessageKind
from clinical.services.prediction import PredictionService
from clinical.services.review import ReviewService
from clinical.timeline.patient import PatientRef
from tests.chaos import checker
from tests.chaos.checker import Head, Lease, Violation
from tests.chaos.history import History, Outcome
from tests.fakes import NOON, FakeModelServer, SettableClock
from tests.journeys.bundles import bundle, observation, patient

SITE = "north"
_WAIT_SECONDS = 20


class KilledError(BaseException):
    """The process is gone at this point; nothing of ours may catch it."""


class Works(SqlUnitOfWork):
    """The real unit of work; `inbox_of` and the like put a repository with a bug in its place."""

    def __init__(self, engine: Engine, **parts: Callable[..., object]) -> None:
        super().__init__(engine)
        self._parts = parts

    def __enter__(self) -> "Works":
        super().__enter__()
        for name, make in self._parts.items():
            setattr(self, name, make(self._connection))
        return self


def run(engine: Engine, name: str, *, is_broken: bool) -> list[Violation]:
    """What the checker says of a scenario."""
    return SCENARIOS[name](Bench(engine), is_broken)


@dataclass(slots=True)
class Bench:
    """The parts that every scenario needs."""

    engine: Engine
    clock: SettableClock = field(default_factory=SettableClock)
    identities: TimeOrderedIdentities = field(default_factory=TimeOrderedIdentities)
    history: History = field(default_factory=History)

    def works(self, **parts: Callable[..., object]) -> Callable[[], Works]:
        return lambda: Works(self.engine, **parts)

    def intake(self, works: Callable[[], Works], kind: type[Intake] = Intake) -> Intake:
        return kind(
            open_unit_of_work=works,
            clock=self.clock,
            identities=self.identities,
            readers=readers(),
        )

    def delivery(self, sender_id: str = "d1") -> Delivery:
        return Delivery(
            delivery_id=self.identities.new(),
            site=SITE,
            door=Door.FHIR,
            sender_id=sender_id,
            body=bundle(patient("p1"), observation("o1", "p1")),
            content_type="application/fhir+json",
            received_at=NOON,
        )

    def act(self, actor: str = "site:north", at: datetime = NOON) -> Act:
        return Act(actor=actor, at=at)

    def execute(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for each in statements:
                connection.execute(text(each))

    def kept(self) -> dict[str, int]:
        found: dict[str, int] = {}
        with self.engine.begin() as connection:
            for sender_id in connection.scalars(select(deliveries.c.sender_id)):
                found[sender_id] = found.get(sender_id, 0) + 1
        return found

    def entries(self, kind: AuditKind, ref: str) -> dict[str, int]:
        found: dict[str, int] = {}
        query = select(audit_entries.c.refs).where(audit_entries.c.kind == kind.value)
        with self.engine.begin() as connection:
            for refs in connection.scalars(query):
                found[refs[ref]] = found.get(refs[ref], 0) + 1
        return found

    def deliver(self, intake: Intake, who: str = "ehr") -> UUID | None:
        """One attempt of a client, written down as it saw it."""
        delivery = self.delivery()
        with self.history.operation(who, "deliver", delivery.sender_id) as done:
            try:
                receipt = intake.receive(delivery, self.act())
            except (OperationalError, KilledError):
                return None
            done.outcome = Outcome.OK
            done.told["receipts"] = {str(receipt.delivery_id)}
        return receipt.delivery_id


def together(*work: Callable[[], object]) -> None:
    """Each in a thread of its own, all to their end."""
    threads = [threading.Thread(target=each, daemon=True) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_WAIT_SECONDS)
        assert not thread.is_alive(), "the scenario hangs"


def claimed(uow: Works) -> list[Message]:
    """What a relay gets."""
    return uow.outbox.claim(10, timedelta(seconds=60))


_DROP_UNIQUE_KEYS = """
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT conname FROM pg_constraint
            WHERE conrelid = 'deliveries'::regclass AND contype = 'u'
        LOOP EXECUTE format('ALTER TABLE deliveries DROP CONSTRAINT %I', name); END LOOP;
    END $$
"""


# 1 — no unique key on deliveries: look, then insert.


def no_unique_key(bench: Bench, is_broken: bool) -> list[Violation]:
    both_looked = threading.Barrier(2, timeout=_WAIT_SECONDS)

    class LooksFirst(SqlInbox):
        def add(self, delivery: Delivery) -> tuple[Reception, UUID]:
            its = deliveries.c.sender_id == delivery.sender_id
            held = self._connection.scalar(select(deliveries.c.delivery_id).where(its))
            both_looked.wait()
            if held is not None:
                return Reception.DUPLICATE, held
            row = {
                "delivery_id": delivery.delivery_id,
                "site": delivery.site,
                "door": delivery.door.value,
                "sender_id": delivery.sender_id,
                "body": delivery.body,
                "digest": delivery.digest,
                "content_type": delivery.content_type,
                "context": {},
                "received_at": delivery.received_at,
            }
            self._connection.execute(insert(deliveries).values(row))
            return Reception.NEW, delivery.delivery_id

    works = bench.works()
    if is_broken:
        bench.execute(_DROP_UNIQUE_KEYS)
        works = bench.works(inbox=LooksFirst)
    intake = bench.intake(works)
    together(*(lambda who=who: bench.deliver(intake, who) for who in ("first", "again")))
    return checker.inbox(bench.history.of("deliver"), bench.kept())


# 2 — the sender is answered before the commit, and the database dies in between.


def answer_before_commit(bench: Bench, is_broken: bool) -> list[Violation]:
    class DyingWorks(Works):
        def commit(self) -> None:
            assert self._connection is not None
            backend = self._connection.scalar(text("SELECT pg_backend_pid()"))
            bench.execute(f"SELECT pg_terminate_backend({backend}, {_WAIT_SECONDS * 1000})")
            super().commit()

    class Eager(Intake):
        def receive(
            self, delivery: Delivery, act: Act, *, understand_later: bool = True
        ) -> Receipt:
            with suppress(OperationalError):
                Intake.receive(self, delivery, act, understand_later=understand_later)
            return Receipt(delivery_id=delivery.delivery_id, digest=delivery.digest, is_new=True)

    intake = bench.intake(lambda: DyingWorks(bench.engine), Eager if is_broken else Intake)
    bench.deliver(intake)
    return checker.inbox(bench.history.of("deliver"), bench.kept())


# 3 — claims that do not look at leases.


def no_lease(bench: Bench, is_broken: bool) -> list[Violation]:
    class Forgetful(SqlOutbox):
        def claim(self, *_asked: Any, **_more: Any) -> list[Message]:
            rows = self._connection.execute(
                update(messages)
                .where(messages.c.state.in_(("waiting", "started")))
                .values(fence=messages.c.fence + 1)
                .returning(messages, self._age)
            ).mappings()
            return [_message(row) for row in rows]

    works = bench.works(outbox=Forgetful) if is_broken else bench.works()
    bench.deliver(bench.intake(works))
    held = []
    for second, who in ((1, "relay-1"), (2, "relay-2")):
        with works() as uow:
            taken = claimed(uow)
            uow.commit()
        held += [
            Lease(key=str(each.message_id), who=who, fence=second, start=second, end=second + 60)
            for each in taken
        ]
    return checker.leases(held)


# 4 — an outbox that is read by position: what commits late is never seen.


def read_by_position(bench: Bench, is_broken: bool) -> list[Violation]:
    position = [UUID(int=0)]

    class ByPosition(SqlOutbox):
        def claim(self, *_asked: Any, **_more: Any) -> list[Message]:
            newer = select(messages, self._age).where(messages.c.message_id > position[0])
            rows = self._connection.execute(newer.order_by(messages.c.message_id)).mappings().all()
            position[0] = max([position[0], *(row["message_id"] for row in rows)])
            return [_message(row) for row in rows]

    works = bench.works(outbox=ByPosition) if is_broken else bench.works()
    early, late = bench.identities.new(), bench.identities.new()
    taken: dict[str, int] = {}

    def owe(uow: Works, message_id: UUID) -> None:
        message = Message(
            message_id=message_id,
            kind=MessageKind.PREDICT,
            subject_id=message_id,
            created_at=NOON,
            coalesce_key=str(message_id),
        )
        uow.outbox.add(message)

    def poll() -> None:
        with works() as uow:
            for each in claimed(uow):
                taken[str(each.message_id)] = taken.get(str(each.message_id), 0) + 1
            uow.commit()

    with works() as slow:
        owe(slow, early)
        with works() as quick:
            owe(quick, late)
            quick.commit()
        poll()
        slow.commit()
    poll()
    return checker.effects([str(early), str(late)], taken)


# 5 — a redelivered message is applied again.


def applied_again(bench: Bench, is_broken: bool) -> list[Violation]:
    class Careless(SqlInbox):
        def is_recorded(self, delivery_id: UUID) -> bool:
            return False

        def mark_recorded(self, delivery_id: UUID, at: datetime, reading: Reading) -> None:
            its = deliveries.c.delivery_id == delivery_id
            self._connection.execute(update(deliveries).where(its).values(recorded_at=at))

    intake = bench.intake(bench.works(inbox=Careless) if is_broken else bench.works())
    delivery_id = bench.deliver(intake)
    assert delivery_id is not None
    for _delivery_of_the_broker in range(2):
        intake.record(delivery_id, bench.act("worker"))
    recorded = bench.entries(AuditKind.EVENTS_RECORDED, "delivery")
    return checker.effects([str(delivery_id)], recorded)


# 6 — a review that is stored without looking at its version.


def no_version(bench: Bench, is_broken: bool) -> list[Violation]:
    both_read = threading.Barrier(2, timeout=_WAIT_SECONDS)

    class Blind(SqlReviews):
        def update(self, review: Review) -> None:
            its = reviews.c.review_id == review.review_id
            values = {"state": review.state.value, "version": review.version}
            values |= {"claimed_by": review.claimed_by, "claimed_until": review.claimed_until}
            values |= {"fence": review.fence}
            self._connection.execute(update(reviews).where(its).values(values))

    class Meeting(Blind if is_broken else SqlReviews):  # type: ignore[misc]
        def get(self, review_id: UUID) -> Review:
            found = super().get(review_id)
            if threading.current_thread() is not threading.main_thread() and not met.is_set():
                both_read.wait()
                met.set()
            return found

    met = threading.Event()
    review = _queued_review(bench)
    service = ReviewService(
        open_unit_of_work=bench.works(reviews=Meeting),
        clock=bench.clock,
        identities=bench.identities,
    )
    held: list[Lease] = []

    def claim(who: str) -> None:
        asked = {"move": "claim", "version": review.version}
        with bench.history.operation(who, "review", str(review.review_id), **asked) as done:
            try:
                claimed = service.claim(
                    review.review_id, bench.act(who), expected_version=review.version
                )
            except RejectedError:
                done.outcome = Outcome.FAIL
                return
            done.outcome, done.told["version"] = Outcome.OK, claimed.version
        end = LEASE.total_seconds()
        held.append(Lease(key=done.key, who=who, fence=claimed.fence, start=0, end=end))

    together(lambda: claim("adams"), lambda: claim("baker"))
    with bench.works()() as uow:
        final = {str(review.review_id): uow.reviews.get(review.review_id).version}
    return checker.register(bench.history.of("review"), final) + checker.leases(held)


def _queued_review(bench: Bench) -> Review:
    intake = bench.intake(bench.works())
    delivery_id = bench.deliver(intake)
    assert delivery_id is not None
    intake.record(delivery_id, bench.act("worker"))
    patient_id = PatientRef(SITE, "p1").patient_id
    PredictionService(
        open_unit_of_work=bench.works(),
        clock=bench.clock,
        identities=bench.identities,
        models=FakeModelServer(),
    ).make(patient_id, bench.act("worker"))
    with bench.works()() as uow:
        (review,) = uow.reviews.open_for(patient_id)
    return review


# 7 — the audit entry is written after the commit, and the process dies in between.


def entry_after_commit(bench: Bench, is_broken: bool) -> list[Violation]:
    class Waiting(SqlAuditLog):
        def append(self, entry: AuditEntry) -> None:
            """For later, in a transaction of its own."""

    class DyingWorks(Works):
        def commit(self) -> None:
            super().commit()
            raise KilledError

    parts: dict[str, Callable[..., object]] = {"audit_log": Waiting} if is_broken else {}
    if is_broken:  # what the schema itself would refuse is taken away with it
        bench.execute("ALTER TABLE deliveries DISABLE TRIGGER USER")
    bench.deliver(bench.intake(lambda: DyingWorks(bench.engine, **parts)))
    with bench.engine.begin() as connection:
        rows = [str(each) for each in connection.scalars(select(deliveries.c.delivery_id))]
    assert rows, "the delivery was committed before the process died"
    return checker.audited(rows, bench.entries(AuditKind.DELIVERY_RECEIVED, "delivery"))


# 8 — a ledger that is built anew in the order of time: a late entry moves the leaves after it.


def rewritten_ledger(bench: Bench, is_broken: bool) -> list[Violation]:
    class Sorting(SqlAuditLog):
        def sequence(self, limit: int, at: datetime) -> int:
            for table in (audit_heads, audit_nodes, audit_leaves):
                self._connection.execute(delete(table))
            ordered = select(audit_entries).order_by(audit_entries.c.at, audit_entries.c.entry_id)
            rows = self._connection.execute(ordered).mappings().all()
            self._append_leaves([_entry(row) for row in rows], at)
            return 0

    if is_broken:
        tables = ("audit_heads", "audit_nodes", "audit_leaves")
        bench.execute(*(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in tables))
    works = bench.works(audit_log=Sorting) if is_broken else bench.works()
    audit = AuditService(open_unit_of_work=works, clock=bench.clock)
    seen = []
    for hours in (2, 1, 3):  # the second commits late: its moment is before the first one's
        act = bench.act("worker", NOON + timedelta(hours=hours))
        with works() as uow:
            entry_id = bench.identities.new()
            uow.audit_log.append(act.entry(entry_id, AuditKind.REVIEW_READ, review=entry_id))
            uow.commit()
        audit.sequence()
        with works() as uow:
            head = uow.audit_log.head()
        seen.append(Head(head.size, head.root.hex()))

    def is_grown(old: Head, new: Head) -> bool:
        heads = [TreeHead(each.size, bytes.fromhex(each.root)) for each in (old, new)]
        return is_consistent(heads[0], heads[1], audit.growth(old.size, new.size))

    return checker.ledger(seen, is_grown)


SCENARIOS: dict[str, Callable[[Bench, bool], list[Violation]]] = {
    "no unique key on deliveries": no_unique_key,
    "answered before the commit": answer_before_commit,
    "claims that do not look at leases": no_lease,
    "an outbox read by position": read_by_position,
    "a redelivery applied again": applied_again,
    "a review stored without its version": no_version,
    "an audit entry after the commit": entry_after_commit,
    "a ledger that is rewritten": rewritten_ledger,
}
