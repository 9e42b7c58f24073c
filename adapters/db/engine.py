"""The engine of a database URL; knows how every connection of ours is set up, and nothing stored."""

from sqlalchemy import Engine, make_url
from sqlalchemy import create_engine as create_sqlalchemy_engine

from clinical.errors import RejectedError

# Our transactions wait for nobody outside but the broker, which has ten seconds to confirm.
LONGEST_PAUSE_SECONDS = 12.0

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
) -> Engine:
    """An engine over psycopg 3; a connection that broke while pooled is replaced when next taken.

    A transaction that says nothing for `longest_pause_seconds` is ended by the server: a process that
    is frozen, or behind a broken network, does not keep its rows from the others.

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
    return create_sqlalchemy_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=10,
        pool_pre_ping=True,
        hide_parameters=True,  # parameters may be patient data; errors go to logs
        connect_args={"options": session, "connect_timeout": 10, "application_name": "clinical"},
    )
