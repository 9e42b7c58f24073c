"""One transaction with all repositories in it: rolled back unless committed.

Knows connections and transactions; what is stored is the repositories' business.
"""

import contextlib
from collections.abc import Callable, Collection
from datetime import datetime
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from adapters.db.announcements import SqlAnnouncements
from adapters.db.announcing_log import AnnouncingAuditLog
from adapters.db.cards import SqlCards
from adapters.db.dead_letters import SqlDeadLetters
from adapters.db.disclosures import SqlDisclosures
from adapters.db.erasure import SqlErasure
from adapters.db.errors import translated, translating
from adapters.db.forgotten import SqlForgotten
from adapters.db.inbox import SqlInbox
from adapters.db.memories import SqlMemories
from adapters.db.models import SqlModels
from adapters.db.note_jobs import SqlNoteJobs
from adapters.db.outbox import SqlOutbox
from adapters.db.payloads import SqlPayloads
from adapters.db.plan_comparisons import SqlPlanComparisons
from adapters.db.predictions import SqlPredictions
from adapters.db.pulls import SqlPulls
from adapters.db.recalls import SqlRecalls
from adapters.db.retractions import SqlRetractions
from adapters.db.reviews import SqlReviews
from adapters.db.states import SqlLatentStates
from adapters.db.subscriptions import SqlSubscriptions
from adapters.db.timelines import SqlTimelines
from clinical.audit.entry import AuditKind
from clinical.services.ports import OpenUnitOfWork, UnitOfWork

_RING = text("NOTIFY outbox")


class SqlUnitOfWork:
    """Implements the port `UnitOfWork`; errors of the driver leave it as errors of ours."""

    def __init__(
        self,
        engine: Engine,
        moment: Callable[[], datetime] | None = None,
        announced: Collection[AuditKind] = (),
    ) -> None:
        """Nothing is connected before `with`; `moment` stands in for the database's clock."""
        self._engine = engine
        self._moment = moment
        self._announced = announced
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        """Connect and begin; raises StorageUnavailableError."""
        with translating():
            connection = self._connection = self._engine.connect()
        # Said aloud because COPY and binary reads go around SQLAlchemy, which would not notice.
        connection.begin()
        self.inbox = SqlInbox(connection)
        self.outbox = SqlOutbox(connection, self._moment)
        self.dead_letters = SqlDeadLetters(connection)
        self.forgotten = SqlForgotten(connection)
        self.note_jobs = SqlNoteJobs(connection)
        self.pulls = SqlPulls(connection)
        self.timelines = SqlTimelines(connection)
        self.retractions = SqlRetractions(connection)
        self.predictions = SqlPredictions(connection)
        self.models = SqlModels(connection)
        self.memories = SqlMemories(connection)
        self.states = SqlLatentStates(connection)
        self.reviews = SqlReviews(connection)
        self.recalls = SqlRecalls(connection)
        self.plan_comparisons = SqlPlanComparisons(connection)
        self.cards = SqlCards(connection)
        self.subscriptions = SqlSubscriptions(connection)
        self.audit_log = AnnouncingAuditLog(connection, self.outbox, self._announced)
        self.announcements = SqlAnnouncements(connection)
        self.payloads = SqlPayloads(connection)
        self.erasure = SqlErasure(connection)
        self.disclosures = SqlDisclosures(connection)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Roll back what was not committed, and give the connection back."""
        assert self._connection is not None
        # A broken connection cannot be rolled back; the server has done so already.
        with contextlib.suppress(DBAPIError):
            self._connection.close()
        self._connection = None
        if isinstance(error, Exception) and (ours := translated(error)) is not None:
            # The driver's text may quote stored values: it is not chained.
            raise ours from None

    def commit(self) -> None:
        """Make it durable, then wake the relays if work was added.

        Raises:
            StorageUnavailableError: whether it was made durable is unknown.
        """
        assert self._connection is not None
        with translating():
            self._connection.commit()
        if self.outbox.has_news:
            self._ring(self._connection)
        self._connection.begin()

    def _ring(self, connection: Connection) -> None:
        """Notify in a transaction of its own.

        PostgreSQL serialises the commits of transactions that notify, each through its flush to
        disk; this one writes nothing, so it flushes nothing. Whether or not the bell is heard the
        work is stored: relays also look for themselves now and then.
        """
        self.outbox.has_news = False
        with contextlib.suppress(DBAPIError):
            connection.execute(_RING)
            connection.commit()


def unit_of_work_factory(
    engine: Engine,
    *,
    moment: Callable[[], datetime] | None = None,
    announced: Collection[AuditKind] = (),
) -> OpenUnitOfWork:
    """What the services take: each call begins a transaction.

    Entries of the kinds `announced` are owed to those whom a site lets be told.

    `moment` stands in for the database's clock where leases and due times are compared: only for
    tests, which cannot wait.
    """

    def open_unit_of_work() -> UnitOfWork:
        return SqlUnitOfWork(engine, moment, announced)

    return open_unit_of_work
