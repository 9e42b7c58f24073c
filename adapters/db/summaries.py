"""Short questions of the web face that need no transaction of a journey: who is listed, how much waits.

Knows the tables. Does not know what is done with the answers; reads only, and never whole timelines.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import Connection, Engine, func, select

from adapters.db.errors import translating
from adapters.db.event_rows import events_of
from adapters.db.outward_tables import webhook_endpoints
from adapters.db.tables import audit_pending, deliveries, events, messages, reviews
from clinical.services.messages import MessageKind
from clinical.timeline.event import Event, EventKind


class Summaries:
    """Reads over one engine; every question is a connection of its own."""

    def __init__(self, engine: Engine) -> None:
        """Nothing is asked yet."""
        self._engine = engine

    def static_facts(self, patient_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[Event]]:
        """Birth and sex of several patients, every version of them."""
        wanted = select(events).where(
            events.c.patient_id.in_(patient_ids), events.c.kind == EventKind.PATIENT.value
        )
        found: defaultdict[UUID, list[Event]] = defaultdict(list)
        with self._reading() as connection:
            for event in events_of(connection.execute(wanted)):
                found[event.patient_id].append(event)
        return found

    def backlog(self) -> Mapping[str, int]:
        """How many of what waits or was decided, by name; cheap enough for every scrape."""
        owed = messages.c.state.in_(("waiting", "started"))
        counts = {
            "messages owed": select(func.count()).select_from(messages).where(owed),
            "deliveries not yet understood": select(func.count())
            .select_from(deliveries)
            .where(deliveries.c.recorded_at.is_(None)),
            "audit entries without a leaf": select(func.count()).select_from(audit_pending),
            "webhooks given up": select(func.count())
            .select_from(messages)
            .where(
                messages.c.state == "given_up", messages.c.kind == MessageKind.SEND_WEBHOOK.value
            ),
            "webhook receivers gone": select(func.count()).select_from(webhook_endpoints),
        }
        by_state = select(reviews.c.state, func.count()).group_by(reviews.c.state)
        with self._reading() as connection:
            found = {name: int(connection.scalar(query) or 0) for name, query in counts.items()}
            for state, count in connection.execute(by_state):
                found[f"reviews {state}"] = count
        return found

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translating(), self._engine.connect() as connection:
            yield connection
