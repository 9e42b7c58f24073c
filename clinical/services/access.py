"""Who looked at what, who was refused, and what passed between us and an EHR: entries that change nothing.

Whatever changes something writes its entry in its own transaction; here is the rest. Entries name
our own ids. What a caller typed is never in them, for it may be patient data.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clinical.audit.entry import Act, AuditEntry, AuditKind
from clinical.services.ports import EhrExchange, Identities, OpenUnitOfWork, append_all

NOBODY = "anonymous"
"""The actor of what somebody did whom we do not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What was refused, and why; refusals that are alike in all of this are told as one."""

    actor: str
    address: str
    method: str
    route: str  # its template: the path itself may carry an id of the EHR
    status: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """`count` refusals, alike, the first of them by the request `request_id` at `since`."""

    refusal: Refusal
    count: int
    since: datetime
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessService:
    """Writes down accesses, each in a transaction of its own."""

    open_unit_of_work: OpenUnitOfWork
    identities: Identities

    def note_worklist(self, act: Act, query: str, reviews: Sequence[UUID]) -> None:
        """The actor saw these lines of the worklist."""
        shown = " ".join(str(each) for each in reviews)
        self._note(act, AuditKind.WORKLIST_READ, query=query, reviews=shown)

    def note_session(self, act: Act) -> None:
        """The actor signed in."""
        self._note(act, AuditKind.SESSION_OPENED)

    def note_exchange(self, exchange: EhrExchange, act: Act) -> None:
        """We read from an EHR, or wrote to it, or tried to."""
        self._note(act, exchange.kind, **exchange.refs)

    def note_refused(self, refused: Iterable[Refused], at: datetime) -> None:
        """Refusals that were counted, all in one transaction."""
        with self.open_unit_of_work() as uow:
            append_all(uow.audit_log, (self._refused(each, at) for each in refused))
            uow.commit()

    def _refused(self, refused: Refused, at: datetime) -> AuditEntry:
        what = refused.refusal
        act = Act(
            actor=what.actor or NOBODY, at=at, request_id=refused.request_id, address=what.address
        )
        return act.entry(
            self.identities.new(),
            AuditKind.REQUEST_REFUSED,
            method=what.method,
            route=what.route,
            status=what.status,
            why=what.why,
            count=refused.count,
            since=refused.since.isoformat(),
        )

    def _note(self, act: Act, kind: AuditKind, **refs: object) -> None:
        with self.open_unit_of_work() as uow:
            uow.audit_log.append(act.entry(self.identities.new(), kind, **refs))
            uow.commit()
