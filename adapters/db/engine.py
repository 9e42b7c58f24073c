"""The engine of a database URL; knows how every connection of ours is set up, and nothing stored."""

from collections.abc import Generator
from typing import Any

import psycopg
from sqlalchemy import Engine, event, make_url
from sqlalchemy import create_engine as create_sqlalchemy_engine
from typing_extensions import override

from clinical.errors import RejectedError

# Our transactions wait for nobody outside but the broker, which has ten seconds to confirm.
LONGEST_PAUSE_SECONDS = 12.0

# No statement of web or worker takes so long; a link that swallows what it is given would be waited
# for without end.
LONGEST_ANSWER_SECONDS = 30.0
# While somebody waits for the answer.
LONGEST_ANSWER_TO_WEB_SECONDS = 5.0

# Moments come back in UTC; a temporary table that exists already is no news.
_SESSION = "-c timezone=UTC -c client_min_messages=warning"


class UnsupportedDatabaseError(RejectedError):
    """The URL is not one of PostgreSQL."""

    code = "storage.unsupported_database"


def create_engine(
    url: str,
    *,
    pool_size: int = 5,
    max_overflow: int = 10,
    longest_pause_seconds: float | None = None,
    longest_answer_seconds: float | None = None,
) -> Engine:
    """An engine over psycopg 3; a connection that broke while pooled is replaced when next taken.

    A transaction that says nothing for `longest_pause_seconds` is ended by the server: a process that
    is frozen, or behind a broken network, does not keep its rows from the others. A connection whose
    server says nothing for `longest_answer_seconds` is closed by us: links can be silent without end.

    Raises:
        UnsupportedDatabaseError
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "postgresql":
        raise UnsupportedDatabaseError("the database must be PostgreSQL (postgresql+psycopg://…)")
    session = _SESSION
    if longest_pause_seconds is not None:
        milliseconds = round(longest_pause_seconds * 1000)
        session += f" -c idle_in_transaction_session_timeout={milliseconds}"
    engine = create_sqlalchemy_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=10,
        pool_pre_ping=True,
        hide_parameters=True,  # parameters may be patient data; errors go to logs
        connect_args={
            "options": session,
            "connect_timeout": round(min(10.0, longest_answer_seconds or 10.0)),
            "application_name": "clinical",
        },
    )
    if longest_answer_seconds is not None:
        event.listen(engine, "do_connect", _impatient(longest_answer_seconds))
    return engine


def _impatient(seconds: float) -> Any:
    """How SQLAlchemy is to connect, so that nothing waits longer for the server's answer."""

    class Impatient(psycopg.Connection[Any]):
        @override
        def wait(
            self, gen: Generator[Any, Any, Any], interval: float = 0.1, timeout: float | None = None
        ) -> Any:
            if timeout is not None:
                return super().wait(gen, interval, timeout)
            try:
                return super().wait(gen, interval, seconds)
            except psycopg.errors._WaitTimeout:  # noqa: SLF001 - no other name tells it apart
                self.pgconn.finish()  # nobody knows what state it is in
                raise psycopg.OperationalError("the server did not answer in time") from None

    def connect(_dialect: object, _record: object, args: list[Any], options: dict[str, Any]) -> Any:
        return Impatient.connect(*args, **options)

    return connect
