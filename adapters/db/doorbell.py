"""Hears that a message was added to the outbox: `LISTEN outbox`, on a connection of its own.

Knows PostgreSQL's notifications. They may be lost with the connection, so whoever waits here looks
for itself now and then.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import make_url

from adapters.db.errors import translated

CHANNEL = "outbox"


class Doorbell:
    """Rings when a transaction that added a message has been committed."""

    def __init__(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        """Listen from now on."""
        self._connection = connection
        connection.execute(f"LISTEN {CHANNEL}")

    def wait(self, timeout_seconds: float) -> bool:
        """Return when it rings or the time is over; whether it rang.

        Raises:
            StorageUnavailableError
        """
        try:
            rings = self._connection.notifies(timeout=timeout_seconds, stop_after=1)
            return any(True for _ in rings)
        except psycopg.Error as error:
            raise translated(error) or error from error


@contextmanager
def open_doorbell(url: str) -> Iterator[Doorbell]:
    """A doorbell for the database of that SQLAlchemy URL.

    Raises:
        StorageUnavailableError
    """
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        connection = psycopg.connect(
            plain, autocommit=True, connect_timeout=10, application_name="clinical-relay"
        )
    except psycopg.Error as error:
        raise translated(error) or error from error
    with connection:
        yield Doorbell(connection)
