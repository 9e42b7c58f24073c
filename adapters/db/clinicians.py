"""Local accounts of clinicians: who may sign in, with a password stored as scrypt.

Knows the table `clinicians`. Sessions are the web face's.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Row, select
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.errors import UnstorableValueError, translating
from adapters.db.tables import clinicians
from clinical.errors import RejectedError

# RFC 7914; of the settings that OWASP's password storage cheat sheet holds equal, that of 32 MiB.
_COST, _BLOCK, _PARALLEL, _SALT_BYTES = 2**15, 8, 3, 16
_MAX_MEMORY = 64 * 1024 * 1024


class ClinicianExistsError(RejectedError):
    """The name is taken."""

    code = "clinician.exists"


class BadPasswordError(RejectedError):
    """No account of this name has this password."""

    code = "clinician.bad_password"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clinician:
    """Somebody who may sign in."""

    name: str
    display_name: str
    role: str


class Clinicians:
    """The accounts of one database."""

    def __init__(self, engine: Engine) -> None:
        """Each question is a transaction of its own."""
        self._engine = engine

    def add(self, name: str, display_name: str, password: str, role: str) -> Clinician:
        """Create an account; raises ClinicianExistsError, StorageUnavailableError."""
        statement = (
            upsert(clinicians)
            .values(name=name, display_name=display_name, role=role, password=_hashed(password))
            .on_conflict_do_nothing()
            .returning(clinicians.c.name)
        )
        with translating(), self._engine.begin() as connection:
            is_new = connection.scalar(statement) is not None
        if not is_new:
            raise ClinicianExistsError("the name is taken")
        return Clinician(name=name, display_name=display_name, role=role)

    def verify(self, name: str, password: str) -> Clinician | None:
        """Who signs in; None alike for an unknown name, a wrong password and a closed account.

        An unknown name costs the same time as a wrong password.

        Raises:
            StorageUnavailableError
        """
        row = self._active(name)
        if not _matches(password, _NOBODYS if row is None else row.password) or row is None:
            return None
        return Clinician(name=row.name, display_name=row.display_name, role=row.role)

    def _active(self, name: str) -> Row[Any] | None:
        query = select(clinicians).where(clinicians.c.name == name, clinicians.c.is_active)
        try:
            with translating(), self._engine.connect() as connection:
                return connection.execute(query).one_or_none()
        except UnstorableValueError:
            return None  # nobody can be called so


def _hashed(password: str) -> str:
    salt = secrets.token_bytes(_SALT_BYTES)
    parts = (salt, _scrypt(password, salt))
    return "scrypt$" + "$".join(base64.b64encode(part).decode() for part in parts)


def _matches(password: str, stored: str) -> bool:
    _, salt, expected = stored.split("$")
    return hmac.compare_digest(
        _scrypt(password, base64.b64decode(salt)), base64.b64decode(expected)
    )


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=_COST,
        r=_BLOCK,
        p=_PARALLEL,
        maxmem=_MAX_MEMORY,
    )


# Of nobody: no password comes out as zeros within anybody's lifetime.
_NOBODYS = "scrypt$" + "$".join(base64.b64encode(bytes(size)).decode() for size in (16, 64))
