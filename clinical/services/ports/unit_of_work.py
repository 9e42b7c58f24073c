"""One transaction with every repository in it."""

from types import TracebackType
from typing import Protocol, Self

from clinical.services.ports.announcements import Announcements
from clinical.services.ports.answers import (
    LatentStates,
    Memories,
    Models,
    PlanComparisons,
    Predictions,
    Timelines,
)
from clinical.services.ports.cards import Cards
from clinical.services.ports.disclosures import Disclosures
from clinical.services.ports.judgements import Recalls, Reviews
from clinical.services.ports.log import AuditLog, Erasure, Payloads
from clinical.services.ports.notes import NoteJobs
from clinical.services.ports.pulls import Pulls
from clinical.services.ports.retractions import Retractions
from clinical.services.ports.subscriptions import Subscriptions
from clinical.services.ports.work import DeadLetters, Forgotten, Inbox, Outbox


class UnitOfWork(Protocol):
    """One transaction: rolled back unless committed."""

    @property
    def inbox(self) -> Inbox: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def dead_letters(self) -> DeadLetters: ...
    @property
    def forgotten(self) -> Forgotten: ...
    @property
    def note_jobs(self) -> NoteJobs: ...
    @property
    def pulls(self) -> Pulls: ...
    @property
    def timelines(self) -> Timelines: ...
    @property
    def retractions(self) -> Retractions: ...
    @property
    def predictions(self) -> Predictions: ...
    @property
    def models(self) -> Models: ...
    @property
    def memories(self) -> Memories: ...
    @property
    def states(self) -> LatentStates: ...
    @property
    def reviews(self) -> Reviews: ...
    @property
    def recalls(self) -> Recalls: ...
    @property
    def plan_comparisons(self) -> PlanComparisons: ...
    @property
    def cards(self) -> Cards: ...
    @property
    def subscriptions(self) -> Subscriptions: ...
    @property
    def audit_log(self) -> AuditLog: ...
    @property
    def announcements(self) -> Announcements: ...
    @property
    def payloads(self) -> Payloads: ...
    @property
    def erasure(self) -> Erasure: ...
    @property
    def disclosures(self) -> Disclosures: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def commit(self) -> None: ...


class OpenUnitOfWork(Protocol):
    """Begins a transaction."""

    def __call__(self) -> UnitOfWork: ...
