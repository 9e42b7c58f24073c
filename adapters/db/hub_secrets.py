"""Secrets that EHRs gave us when they shook hands: the last two of each subscription sign.

In the database, because web processes on several machines must all know them.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.errors import translating
from adapters.db.subscription_tables import hub_secrets

_NUM_HUB_SECRETS = 2  # both are good while they rotate


class SqlHubSecrets:
    """Implements the port `HubSecrets`, in transactions of its own."""

    def __init__(self, engine: Engine) -> None:
        """Nothing is connected yet."""
        self._engine = engine

    def known(self, subscription_id: UUID) -> list[bytes]:
        """Those that may sign, the newest first; raises StorageUnavailableError."""
        query = (
            select(hub_secrets.c.secret)
            .where(hub_secrets.c.subscription_id == subscription_id)
            .order_by(hub_secrets.c.learned_at.desc(), hub_secrets.c.secret)
            .limit(_NUM_HUB_SECRETS)
        )
        with translating(), self._engine.connect() as connection:
            return [bytes(each) for each in connection.execute(query).scalars()]

    def learn(self, subscription_id: UUID, secret: bytes, at: datetime) -> None:
        """Remember one; the one before the last is forgotten. Raises StorageUnavailableError."""
        added = upsert(hub_secrets).values(
            subscription_id=subscription_id, secret=secret, learned_at=at
        )
        kept = (
            select(hub_secrets.c.secret)
            .where(hub_secrets.c.subscription_id == subscription_id)
            .order_by(hub_secrets.c.learned_at.desc(), hub_secrets.c.secret)
            .limit(_NUM_HUB_SECRETS)
        )
        with translating(), self._engine.begin() as connection:
            connection.execute(
                added.on_conflict_do_update(
                    index_elements=["subscription_id", "secret"], set_={"learned_at": at}
                )
            )
            connection.execute(
                delete(hub_secrets).where(
                    hub_secrets.c.subscription_id == subscription_id,
                    hub_secrets.c.secret.not_in(kept),
                )
            )
