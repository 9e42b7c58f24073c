"""The EHR as it is asked and told, with what goes wrong written into the audit log.

What goes well leaves an entry anyway: a fetched answer is a delivery, a write-back is noted in its own
transaction. Of what fails again and again only the first failure in a row is written down.
"""

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from datetime import datetime

from adapters import requests
from clinical.audit.entry import Act
from clinical.errors import ClinicalError
from clinical.review.writeback import Told, WriteBack
from clinical.services.ports import (
    Clock,
    EhrExchange,
    EhrGateway,
    EhrSource,
    Fetched,
    Interaction,
    NotesExchanges,
)
from clinical.subscription.notification import RecordRef

_MOST_STREAKS = 10_000
_ACTOR = "worker"


class Failures:
    """Which exchanges are failing at the moment, and who writes the first failure down."""

    def __init__(self, log: NotesExchanges, clock: Clock) -> None:
        """Nothing fails yet."""
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._streaks: set[Hashable] = set()

    @contextmanager
    def watched(self, exchange: EhrExchange) -> Iterator[None]:
        """Raises what the block raises, having written it down where it is the first in a row."""
        key = (exchange.site, exchange.interaction, exchange.resource, exchange.review)
        try:
            yield
        except ClinicalError as error:
            if self._begins(key):
                self._note(exchange, error.code)
            raise
        with self._lock:
            self._streaks.discard(key)

    def _begins(self, key: Hashable) -> bool:
        with self._lock:
            if key in self._streaks or len(self._streaks) >= _MOST_STREAKS:
                return False
            self._streaks.add(key)
            return True

    def _note(self, exchange: EhrExchange, code: str) -> None:
        failed = EhrExchange(
            site=exchange.site,
            interaction=exchange.interaction,
            resource=exchange.resource,
            review=exchange.review,
            why=code,
        )
        act = Act(actor=_ACTOR, at=self._clock.now(), request_id=requests.current())
        self._log.note_exchange(failed, act)


class NotedGateway:
    """Implements EhrGateway over another."""

    def __init__(self, gateway: EhrGateway, failures: Failures) -> None:
        """`gateway` tells the EHR."""
        self._gateway = gateway
        self._failures = failures

    def write_back(self, write_back: WriteBack) -> Told:
        """As the gateway does."""
        exchange = EhrExchange(
            site=write_back.site,
            interaction=Interaction.CREATE,
            review=write_back.decision.review_id,
        )
        with self._failures.watched(exchange):
            return self._gateway.write_back(write_back)

    def take_back(self, write_back: WriteBack, ehr_id: str) -> Told:
        """As the gateway does."""
        exchange = EhrExchange(
            site=write_back.site,
            interaction=Interaction.UPDATE,
            review=write_back.decision.review_id,
        )
        with self._failures.watched(exchange):
            return self._gateway.take_back(write_back, ehr_id)


class NotedSource:
    """Implements EhrSource over another."""

    def __init__(self, source: EhrSource, failures: Failures) -> None:
        """`source` asks the EHR."""
        self._source = source
        self._failures = failures

    def read(self, site: str, ref: RecordRef) -> Fetched:
        """As the source does."""
        exchange = EhrExchange(site=site, interaction=Interaction.READ, resource=ref.record_type)
        with self._failures.watched(exchange):
            return self._source.read(site, ref)

    def search(self, site: str, query: str, since: datetime) -> Iterator[Fetched]:
        """As the source does."""
        exchange = EhrExchange(
            site=site, interaction=Interaction.SEARCH, resource=query.partition("?")[0]
        )
        with self._failures.watched(exchange):
            yield from self._source.search(site, query, since)
