"""Where subscriptions stand, and what waits to be read for them.

Knows the tables of `subscription_tables.py`. Which move follows from what is the domain's.
"""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    delete,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.subscription_tables import (
    heard_events,
    hub_secrets,
    subscriptions,
    unread_records,
)
from clinical.errors import NotFoundError
from clinical.services.ports import Unread
from clinical.subscription.counting import Count, Gap
from clinical.subscription.notification import RecordRef, Standing
from clinical.subscription.plan import subscription_id_of
from clinical.subscription.state import SubscriptionState

_AS_THEY_ARE = tuple(
    each.name
    for each in fields(SubscriptionState)
    if each.name not in ("count", "standing", "error_codes")
)


class SqlSubscriptions:
    """Implements the port `Subscriptions` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def hold(self, site: str, name: str, at: datetime) -> SubscriptionState:
        """The subscription, locked until the transaction ends; begun now if it was never heard of."""
        begun = SubscriptionState(
            subscription_id=subscription_id_of(site, name),
            site=site,
            name=name,
            began_at=at,
            watermark=at,
        )
        self._connection.execute(upsert(subscriptions).values(_row(begun)).on_conflict_do_nothing())
        query = select(subscriptions).where(
            subscriptions.c.subscription_id == begun.subscription_id
        )
        row = self._connection.execute(query.with_for_update()).mappings().one()
        return _state(row)

    def find(self, subscription_id: UUID) -> SubscriptionState | None:
        """The subscription as it stands; None: it was never heard of."""
        query = select(subscriptions).where(subscriptions.c.subscription_id == subscription_id)
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else _state(row)

    def all(self) -> list[SubscriptionState]:
        """Every one, by site and name."""
        query = select(subscriptions).order_by(subscriptions.c.site, subscriptions.c.name)
        return [_state(row) for row in self._connection.execute(query).mappings()]

    def idle(self) -> list[SubscriptionState]:
        """Those for which nobody asks the EHR at this moment, by the database's clock."""
        rows = self._connection.execute(select(subscriptions).where(_is_free())).mappings()
        return [_state(row) for row in rows]

    def save(self, state: SubscriptionState) -> None:
        """Keep a state that was held; raises NotFoundError."""
        changed = self._connection.execute(
            update(subscriptions)
            .where(subscriptions.c.subscription_id == state.subscription_id)
            .values(_row(state))
        )
        if not changed.rowcount:
            raise NotFoundError("the subscription was never heard of")

    def forget(self, subscription_id: UUID) -> None:
        """Keep nothing of it, nor what waits to be read for it."""
        for table in (unread_records, heard_events, hub_secrets, subscriptions):
            self._connection.execute(
                delete(table).where(table.c.subscription_id == subscription_id)
            )

    def begin_work(self, subscription_id: UUID, lease: timedelta) -> bool:
        """Be the only one who asks the EHR for it, by the database's clock."""
        changed = self._connection.execute(
            update(subscriptions)
            .where(subscriptions.c.subscription_id == subscription_id, _is_free())
            .values(busy_until=func.statement_timestamp() + lease)
        )
        return changed.rowcount > 0

    def keep_working(self, subscription_id: UUID, lease: timedelta) -> None:
        """Stay the only one for `lease` from now on."""
        self._set_busy(subscription_id, func.statement_timestamp() + lease)

    def end_work(self, subscription_id: UUID) -> None:
        """Let others ask."""
        self._set_busy(subscription_id, None)

    def _set_busy(self, subscription_id: UUID, until: Any) -> None:
        self._connection.execute(
            update(subscriptions)
            .where(subscriptions.c.subscription_id == subscription_id)
            .values(busy_until=until)
        )

    def add_unread(
        self, subscription_id: UUID, refs: Sequence[RecordRef], delivery_id: UUID
    ) -> None:
        """Remember that these are to be read; one that waits already is due at once again."""
        if not refs:
            return
        rows = [
            {
                "subscription_id": subscription_id,
                "record_type": ref.record_type,
                "record_id": ref.record_id,
                "delivery_id": delivery_id,
                "due_at": func.statement_timestamp(),
            }
            for ref in sorted(set(refs))  # one order for everybody
        ]
        for start in range(0, len(rows), 1000):
            added = upsert(unread_records).values(rows[start : start + 1000])
            self._connection.execute(
                added.on_conflict_do_update(
                    index_elements=["subscription_id", "record_type", "record_id"],
                    set_={
                        "delivery_id": added.excluded.delivery_id,
                        "due_at": added.excluded.due_at,
                        "num_missed": 0,
                    },
                )
            )

    def unread(self, subscription_id: UUID, limit: int) -> list[Unread]:
        """Those that are due, those named first before all others."""
        rows = self._connection.execute(
            select(unread_records)
            .where(
                unread_records.c.subscription_id == subscription_id,
                unread_records.c.due_at <= func.statement_timestamp(),
            )
            .order_by(unread_records.c.due_at)
            .limit(limit)
        )
        return [
            Unread(
                ref=RecordRef(row.record_type, row.record_id),
                delivery_id=row.delivery_id,
                num_missed=row.num_missed,
            )
            for row in rows
        ]

    def num_unread(self, subscription_id: UUID) -> int:
        """How many wait to be read, due or not."""
        its = unread_records.c.subscription_id == subscription_id
        query = select(func.count()).select_from(unread_records).where(its)
        return int(self._connection.scalar(query) or 0)

    def has_due_reads(self, subscription_id: UUID) -> bool:
        """Whether any is due."""
        return bool(self.unread(subscription_id, 1))

    def mark_read(self, subscription_id: UUID, ref: RecordRef, named_by: UUID) -> None:
        """It was read, unless another notification named it meanwhile."""
        self._connection.execute(
            delete(unread_records).where(
                _is_it(subscription_id, ref), unread_records.c.delivery_id == named_by
            )
        )

    def put_off(self, subscription_id: UUID, ref: RecordRef, length: timedelta) -> None:
        """The EHR did not find it: look again after so long."""
        self._connection.execute(
            update(unread_records)
            .where(_is_it(subscription_id, ref))
            .values(
                due_at=func.statement_timestamp() + length,
                num_missed=unread_records.c.num_missed + 1,
            )
        )

    def unheard_events(
        self, subscription_id: UUID, event_ids: Sequence[str], at: datetime
    ) -> set[str]:
        """Those of these ids that were never heard, remembered from now on."""
        if not event_ids:
            return set()
        rows = [
            {"subscription_id": subscription_id, "event_id": each, "heard_at": at}
            for each in sorted(set(event_ids))
        ]
        found: set[str] = set()
        for start in range(0, len(rows), 1000):
            added = upsert(heard_events).values(rows[start : start + 1000])
            statement = added.on_conflict_do_nothing().returning(heard_events.c.event_id)
            found |= set(self._connection.execute(statement).scalars())
        return found

    def forget_events(self, before: datetime) -> None:
        """Keep no ids that were heard before this."""
        self._connection.execute(delete(heard_events).where(heard_events.c.heard_at < before))


def _is_free() -> ColumnElement[bool]:
    is_over = subscriptions.c.busy_until <= func.statement_timestamp()
    return or_(subscriptions.c.busy_until.is_(None), is_over)


def _is_it(subscription_id: UUID, ref: RecordRef) -> ColumnElement[bool]:
    return and_(
        unread_records.c.subscription_id == subscription_id,
        tuple_(unread_records.c.record_type, unread_records.c.record_id)
        == tuple_(ref.record_type, ref.record_id),
    )


def _row(state: SubscriptionState) -> dict[str, Any]:
    return {
        **{name: getattr(state, name) for name in _AS_THEY_ARE},
        "standing": state.standing.value,
        "highest": state.count.highest,
        "error_codes": list(state.error_codes),
        "gaps": [
            [
                gap.first,
                gap.last,
                gap.found_at.isoformat(),
                None if gap.given_up_at is None else gap.given_up_at.isoformat(),
                None if gap.told_by is None else str(gap.told_by),
            ]
            for gap in state.count.gaps
        ],
    }


def _state(row: RowMapping) -> SubscriptionState:
    gaps = tuple(
        Gap(
            first=first,
            last=last,
            found_at=datetime.fromisoformat(found_at),
            given_up_at=None if given_up_at is None else datetime.fromisoformat(given_up_at),
            told_by=None if told_by is None else UUID(told_by),
        )
        for first, last, found_at, given_up_at, told_by in row["gaps"]
    )
    return SubscriptionState(
        **{name: row[name] for name in _AS_THEY_ARE},
        standing=Standing(row["standing"]),
        count=Count(highest=row["highest"], gaps=gaps),
        error_codes=tuple(row["error_codes"]),
    )
