"""Which tokens of clients were used: each once, over all processes of a site.

Knows the table `spent_tokens`. Does not know what a token is.
"""

import hashlib
import time
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.card_tables import spent_tokens
from adapters.db.errors import translating

_TIDY_EVERY_SECONDS = 60.0
_MAX_TIDIED = 5000


class SpentTokens:
    """Remembers until a token would be refused anyway."""

    def __init__(self, engine: Engine) -> None:
        """Nothing is connected yet."""
        self._engine = engine
        self._tidy_at = time.monotonic() + _TIDY_EVERY_SECONDS

    def spend(self, issuer: str, token_id: str, until: datetime) -> bool:
        """Use it up; False where somebody has, in whatever process.

        Raises:
            StorageUnavailableError
        """
        digest = hashlib.sha256(f"{len(issuer)}|{issuer}|{token_id}".encode()).digest()
        with translating(), self._engine.begin() as connection:
            added = connection.execute(
                upsert(spent_tokens)
                .values(digest=digest, expires_at=until)
                .on_conflict_do_nothing()
                .returning(spent_tokens.c.digest)
            ).scalar()
        self._tidy()
        return added is not None

    def _tidy(self) -> None:
        """Forget what nobody would take any more, now and then; an hour late, whatever the clocks."""
        if time.monotonic() < self._tidy_at:
            return
        self._tidy_at = time.monotonic() + _TIDY_EVERY_SECONDS
        old = (
            select(spent_tokens.c.digest)
            .where(spent_tokens.c.expires_at < func.now() - timedelta(hours=1))
            .limit(_MAX_TIDIED)
            .with_for_update(skip_locked=True)
        )
        with translating(), self._engine.begin() as connection:
            connection.execute(delete(spent_tokens).where(spent_tokens.c.digest.in_(old)))
