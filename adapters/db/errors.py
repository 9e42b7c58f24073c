"""What can go wrong with storage, in our words; knows SQLSTATE classes, never repeats a stored value.

PostgreSQL puts key values into its error texts. They may be patient data, so a translated error
names only the SQLSTATE and the constraint.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import exc

from clinical.errors import ClinicalError, OperationalError, RejectedError


class StorageUnavailableError(OperationalError):
    """The database cannot be reached, or the connection broke: what was not committed is not stored."""

    code = "storage.unavailable"


class StorageConflictError(OperationalError):
    """Another transaction got in the way (a deadlock, a serialisation failure): the same call may pass."""

    code = "storage.conflict"


class UnstorableValueError(RejectedError):
    """A value that PostgreSQL cannot hold, such as a text with a NUL character or a lone surrogate."""

    code = "storage.unstorable_value"


class BrokenStorageError(ClinicalError):
    """The database refused a statement: schema and code do not agree, or a rule of the schema was broken."""

    code = "storage.broken"


# Connection, resources, operator intervention; and a transaction that paused for too long.
_UNAVAILABLE_CLASSES = ("08", "53", "57", "25P03")
_CONFLICT_STATES = ("40001", "40P01", "55P03")  # serialisation, deadlock, lock not available
_UNSTORABLE_CLASS = "22"  # data exception


def translated(error: BaseException) -> ClinicalError | None:
    """Our error for one of SQLAlchemy's, psycopg's or the encoder's; None where it is none of theirs."""
    if isinstance(error, UnicodeEncodeError):
        return UnstorableValueError("a text holds what UTF-8 cannot encode")
    if isinstance(error, exc.TimeoutError):
        return StorageUnavailableError("no database connection came free in time")
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(cause, psycopg.Error):
        return _from_psycopg(cause)
    return (
        BrokenStorageError(type(error).__name__) if isinstance(error, exc.SQLAlchemyError) else None
    )


def _from_psycopg(error: psycopg.Error) -> ClinicalError:
    state = error.sqlstate or ""
    text = f"{type(error).__name__} {state} {error.diag.constraint_name or ''}".strip()
    if state in _CONFLICT_STATES:
        return StorageConflictError(text)
    if state.startswith(_UNSTORABLE_CLASS) or (not state and isinstance(error, psycopg.DataError)):
        return UnstorableValueError(text)
    is_cut = not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    if is_cut or state.startswith(_UNAVAILABLE_CLASSES):
        return StorageUnavailableError(text)
    return BrokenStorageError(text)


@contextmanager
def translating() -> Iterator[None]:
    """Give the errors of the database our names.

    The original names key values in its text: it goes no further than here.
    """
    try:
        yield
    except Exception as error:
        ours = translated(error)
        if ours is None:
            raise
        raise ours from None
