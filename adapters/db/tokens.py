"""Access tokens for programs: who one speaks for, by its digest; issued, listed, taken back.

Knows the table `access_tokens`. A token is 256 random bits, so a plain digest guards it as well as a
slow one would; the token itself is shown once and kept nowhere.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine, insert, select, update

from adapters.db.audit_log import SqlAuditLog
from adapters.db.clinicians import Clinician
from adapters.db.errors import translating
from adapters.db.tables import clinicians
from adapters.db.token_tables import access_tokens
from clinical.audit.entry import Act, AuditKind
from clinical.errors import NotFoundError, RejectedError
from clinical.services.ports import Identities

PREFIX = "cjt_"
"""How every token begins, so that a leaked one is known for what it is."""
LONGEST = timedelta(days=366)
_NUM_BYTES = 32


class TokenLifetimeError(RejectedError):
    """A token is good for a day at least and a year at most."""

    code = "token.lifetime"


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """What is known of a token; not the token."""

    token_id: UUID
    name: str
    issued_by: str
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class AccessTokens:
    """The tokens of one database."""

    def __init__(self, engine: Engine, identities: Identities) -> None:
        """Each call is a transaction of its own."""
        self._engine = engine
        self._identities = identities

    def issue(self, name: str, act: Act, lifetime: timedelta) -> tuple[IssuedToken, str]:
        """A token that speaks for the account `name`, and what is known of it.

        Raises:
            NotFoundError: there is no such account that is open.
            TokenLifetimeError, StorageUnavailableError
        """
        if not timedelta(days=1) <= lifetime <= LONGEST:
            raise TokenLifetimeError(f"a token is good for 1 to {LONGEST.days} days")
        token = PREFIX + secrets.token_urlsafe(_NUM_BYTES)
        issued = IssuedToken(
            token_id=self._identities.new(),
            name=name,
            issued_by=act.actor,
            issued_at=act.at,
            expires_at=act.at + lifetime,
            revoked_at=None,
        )
        with translating(), self._engine.begin() as connection:
            _require_open(connection, name)
            connection.execute(
                insert(access_tokens).values(
                    token_id=issued.token_id,
                    digest=_digest(token),
                    name=name,
                    issued_by=act.actor,
                    issued_at=act.at,
                    expires_at=issued.expires_at,
                )
            )
            self._note(connection, act, AuditKind.TOKEN_ISSUED, issued.token_id)
        return issued, token

    def revoke(self, token_id: UUID, act: Act) -> None:
        """From now on it speaks for nobody; again does nothing. Raises NotFoundError."""
        with translating(), self._engine.begin() as connection:
            found = select(access_tokens).where(access_tokens.c.token_id == token_id)
            row = connection.execute(found.with_for_update()).one_or_none()
            if row is None:
                raise NotFoundError("no token has this identity")
            if row.revoked_at is None:
                connection.execute(
                    update(access_tokens)
                    .where(access_tokens.c.token_id == token_id)
                    .values(revoked_at=act.at)
                )
                self._note(connection, act, AuditKind.TOKEN_REVOKED, token_id)

    def all(self) -> list[IssuedToken]:
        """The newest first."""
        query = select(access_tokens).order_by(access_tokens.c.issued_at.desc())
        with translating(), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [
            IssuedToken(
                token_id=row.token_id,
                name=row.name,
                issued_by=row.issued_by,
                issued_at=row.issued_at,
                expires_at=row.expires_at,
                revoked_at=row.revoked_at,
            )
            for row in rows
        ]

    def bearer(self, token: str, now: datetime) -> Clinician | None:
        """Whom it speaks for now; None alike for one that is unknown, over, taken back, or of a closed account.

        Raises:
            StorageUnavailableError
        """
        query = (
            select(clinicians.c.name, clinicians.c.display_name, clinicians.c.role)
            .join(access_tokens, access_tokens.c.name == clinicians.c.name)
            .where(
                access_tokens.c.digest == _digest(token),
                access_tokens.c.revoked_at.is_(None),
                access_tokens.c.expires_at > now,
                clinicians.c.is_active,
            )
        )
        with translating(), self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return Clinician(name=row.name, display_name=row.display_name, role=row.role)

    def _note(self, connection: Connection, act: Act, kind: AuditKind, token_id: UUID) -> None:
        SqlAuditLog(connection).append(act.entry(self._identities.new(), kind, token=token_id))


def _require_open(connection: Connection, name: str) -> None:
    found = select(clinicians.c.name).where(clinicians.c.name == name, clinicians.c.is_active)
    if connection.scalar(found) is None:
        raise NotFoundError("there is no open account of this name")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
