"""A listener on a real socket over a real database, and a sender that speaks bytes."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.hl7v2.door import MessageDoor
from adapters.hl7v2.framing import END, START, framed
from adapters.hl7v2.listener import Listener, ListenerLimits
from adapters.hl7v2.senders import Senders
from clinical.services.delivery import Delivery
from clinical.services.intake import Intake
from clinical.services.shedding import LoadLimits, SheddingService
from tests.adapters.hl7v2.messages import SITE, rules

LIMITS = ListenerLimits(max_bytes=64 * 1024, max_connections=8, idle_seconds=60)
OPEN = LoadLimits(max_backlog=1000, max_lateness=timedelta(hours=1), min_free_bytes=1)


class Sender:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._rest = b""

    def send(self, message: bytes) -> str:
        """Send one message; the answer's text."""
        self.connection.sendall(framed(message))
        return self.answer()

    def answer(self) -> str:
        """The next answer; empty where the connection was closed instead."""
        while END not in self._rest:
            try:
                piece = self.connection.recv(65536)
            except ConnectionResetError:
                return ""
            if not piece:
                return ""
            self._rest += piece
        found, _, self._rest = self._rest.partition(END)
        assert found.startswith(START)
        return found[1:].decode("ascii")


@dataclass
class Post:
    """The listener and what it stands on."""

    listener: Listener
    engine: Engine

    @contextmanager
    def sender(self) -> Iterator[Sender]:
        with socket.create_connection(("127.0.0.1", self.listener.port), timeout=20) as connection:
            yield Sender(connection)

    def stored(self) -> list[Delivery]:
        with unit_of_work_factory(self.engine)() as uow, self.engine.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT delivery_id FROM deliveries ORDER BY received_at"
            )
            return [uow.inbox.get(row[0]) for row in rows]


Open = Callable[..., Post]


@pytest.fixture
def open_post(engine: Engine) -> Iterator[Open]:
    """Opens listeners, with other limits or rules where the test says so."""
    opened: list[Listener] = []

    def one(*, load: LoadLimits = OPEN, tls: object = None, **limits: object) -> Post:
        open_unit_of_work = unit_of_work_factory(engine)
        clock, identities = SystemClock(), TimeOrderedIdentities()
        door = MessageDoor(
            intake=Intake(
                open_unit_of_work=open_unit_of_work, clock=clock, identities=identities, readers={}
            ),
            shedding=SheddingService(
                open_unit_of_work=open_unit_of_work,
                limits=load,
                elapsed=time.monotonic,
                free_bytes=lambda: None,
            ),
            senders=Senders({SITE: rules()}),
            clock=clock,
            identities=identities,
        )
        listener = Listener(("127.0.0.1", 0), door, replace(LIMITS, **limits), tls)  # type: ignore[arg-type]
        opened.append(listener)
        threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
        return Post(listener, engine)

    yield one
    for listener in opened:
        listener.stop()
        listener.server_close()


@pytest.fixture
def post(open_post: Open) -> Post:
    """A listener with the usual limits."""
    return open_post()
