"""What others are told, and how that goes. Knows which tables say whose a prediction or review is."""

from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, case, delete, func, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.outward_tables import webhook_endpoints, webhook_sends
from adapters.db.tables import audit_entries, messages, patients, predictions, reviews
from clinical.audit.announced import Announcement
from clinical.audit.entry import AuditEntry, AuditKind
from clinical.prediction.request import Purpose
from clinical.services.messages import Message, MessageKind
from clinical.services.ports import DeadAnnouncement, ReceiverName, ReceiverState

_IS_SEND = messages.c.kind == MessageKind.SEND_WEBHOOK.value
_SITE, _ENDPOINT, _EVENT = (
    messages.c.parameters[name].astext for name in ("site", "endpoint", "event")
)
_IS_OWED = messages.c.state.in_(("waiting", "started"))
_IS_DEAD = messages.c.state == "given_up"


class SqlAnnouncements:
    """Implements the port `Announcements` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def entry(self, entry_id: UUID) -> AuditEntry | None:
        """The audit entry, whether or not it has its leaf yet."""
        row = self._connection.execute(
            select(audit_entries).where(audit_entries.c.entry_id == entry_id)
        ).one_or_none()
        if row is None:
            return None
        return AuditEntry(
            entry_id=row.entry_id,
            at=row.at,
            kind=AuditKind(row.kind),
            actor=row.actor,
            refs=row.refs,
            request_id=row.request_id,
        )

    def site_of(self, announcement: Announcement) -> str | None:
        """The site of its patient; None where that is not stored, or nobody is to review it."""
        refs = announcement.refs
        query = select(patients.c.site)
        if "review" in refs:
            query = query.join(reviews, reviews.c.patient_id == patients.c.patient_id).where(
                reviews.c.review_id == UUID(refs["review"])
            )
        else:
            query = query.join(
                predictions, predictions.c.patient_id == patients.c.patient_id
            ).where(
                predictions.c.prediction_id == UUID(refs["prediction"]),
                predictions.c.purpose == Purpose.REVIEW.value,
            )
        site = self._connection.scalar(query)
        return None if site is None else str(site)

    def is_disabled(self, receiver: ReceiverName) -> bool:
        """Whether it said that it is gone."""
        query = select(webhook_endpoints).where(_is(receiver))
        return self._connection.execute(query).first() is not None

    def disable(self, receiver: ReceiverName) -> bool:
        """Tell it nothing any more; whether that is new."""
        added = (
            upsert(webhook_endpoints)
            .values(site=receiver.site, endpoint=receiver.endpoint)
            .on_conflict_do_nothing()
            .returning(webhook_endpoints.c.endpoint)
        )
        return self._connection.execute(added).first() is not None

    def enable(self, receiver: ReceiverName) -> bool:
        """Tell it again; whether that is new."""
        return self._connection.execute(delete(webhook_endpoints).where(_is(receiver))).rowcount > 0

    def note(self, message: Message, receiver: ReceiverName, status: int, *, is_told: bool) -> int:
        """Remember how a try went; how many failed since the message was owed, or redriven."""
        failed = 0 if is_told else 1
        now = func.statement_timestamp()
        added = upsert(webhook_sends).values(
            message_id=message.message_id,
            entry_id=message.subject_id,
            site=receiver.site,
            endpoint=receiver.endpoint,
            owed_since=message.created_at,
            num_failures=failed,
            last_status=status,
            last_at=now,
            is_delivered=is_told,
        )
        # A message that is redriven is owed from then on, and what failed before is forgotten.
        is_same = webhook_sends.c.owed_since == message.created_at
        statement = added.on_conflict_do_update(
            index_elements=["message_id"],
            set_={
                "num_failures": case((is_same, webhook_sends.c.num_failures), else_=0) + failed,
                "owed_since": message.created_at,
                "last_status": status,
                "last_at": now,
                "is_delivered": is_told,
            },
        ).returning(webhook_sends.c.num_failures)
        return int(self._connection.execute(statement).scalar_one())

    def states(self) -> list[ReceiverState]:
        """Of all receivers that anything was ever owed to, or that are gone."""
        owed = (
            select(
                _SITE.label("site"),
                _ENDPOINT.label("endpoint"),
                func.count().filter(_IS_OWED).label("num_owed"),
                func.count().filter(_IS_DEAD).label("num_dead"),
            )
            .where(_IS_SEND)
            .group_by(text("1"), text("2"))
        )
        found = {
            ReceiverName(row.site, row.endpoint): (row.num_owed, row.num_dead)
            for row in self._connection.execute(owed)
        }
        gone = {
            ReceiverName(row.site, row.endpoint): row.disabled_at
            for row in self._connection.execute(select(webhook_endpoints))
        }
        last = {
            ReceiverName(row.site, row.endpoint): (row.last_at, row.last_status)
            for row in self._connection.execute(_last_tries())
        }
        return [
            ReceiverState(
                receiver=each,
                num_owed=found.get(each, (0, 0))[0],
                num_dead=found.get(each, (0, 0))[1],
                disabled_at=gone.get(each),
                last_at=last.get(each, (None, None))[0],
                last_status=last.get(each, (None, None))[1],
            )
            for each in sorted({*found, *gone, *last}, key=lambda r: (r.site, r.endpoint))
        ]

    def dead(self, limit: int, receiver: ReceiverName | None = None) -> list[DeadAnnouncement]:
        """What was given up, the newest first."""
        query = (
            select(
                messages, _SITE.label("site"), _ENDPOINT.label("endpoint"), _EVENT.label("event")
            )
            .where(_IS_SEND, _IS_DEAD)
            .order_by(messages.c.finished_at.desc(), messages.c.message_id)
            .limit(limit)
        )
        if receiver is not None:
            query = query.where(receiver.site == _SITE, receiver.endpoint == _ENDPOINT)
        return [
            DeadAnnouncement(
                message_id=row.message_id,
                receiver=ReceiverName(row.site, row.endpoint),
                event=row.event,
                error_code=row.last_error_code or "",
                given_up_at=row.finished_at,
            )
            for row in self._connection.execute(query)
        ]


def _is(receiver: ReceiverName) -> ColumnElement[bool]:
    return and_(
        webhook_endpoints.c.site == receiver.site,
        webhook_endpoints.c.endpoint == receiver.endpoint,
    )


def _last_tries() -> Select[tuple[object, ...]]:
    return (
        select(webhook_sends)
        .ext(distinct_on(webhook_sends.c.site, webhook_sends.c.endpoint))
        .order_by(webhook_sends.c.site, webhook_sends.c.endpoint, webhook_sends.c.last_at.desc())
    )
