"""What an EHR is asked for on our own account: each step stored with what it brought, in one commit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.errors import RejectedError
from clinical.services.delivery import Delivery
from clinical.services.ports import (
    BulkFile,
    BulkJob,
    Clock,
    Identities,
    JobState,
    OpenUnitOfWork,
    PollTurn,
    UnitOfWork,
)


class JobUnderWayError(RejectedError):
    """An export of the same scope is under way: it is gone on with, or called off first."""

    code = "pull.under_way"


class _Receipt(Protocol):
    @property
    def is_new(self) -> bool: ...


class Receive(Protocol):
    """The way in for every delivery (`Intake.receive`)."""

    def __call__(
        self,
        delivery: Delivery,
        act: Act,
        *,
        understand_later: bool = True,
        beside: Callable[[UnitOfWork], None] | None = None,
    ) -> _Receipt: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PullingService:
    """Remembers how far each question has come. What came is understood by the workers, later."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    receive: Receive

    def begin(self, job: BulkJob) -> None:
        """Remember a job that the EHR took; raises JobUnderWayError."""
        with self.open_unit_of_work() as uow:
            if not uow.pulls.begin(job):
                raise JobUnderWayError("an export of this scope is under way")
            uow.commit()

    def under_way(self, site: str, scope: str) -> BulkJob | None:
        """The job of this scope that has not ended."""
        with self.open_unit_of_work() as uow:
            return uow.pulls.under_way(site, scope)

    def completed_until(self, site: str, scope: str) -> str:
        """From where the next export asks, in the EHR's own words; empty: from the beginning."""
        with self.open_unit_of_work() as uow:
            return uow.pulls.completed_until(site, scope)

    def list_files(self, job: BulkJob, files: Sequence[BulkFile]) -> None:
        """Keep what the EHR's manifest said."""
        with self.open_unit_of_work() as uow:
            uow.pulls.list_files(job, files)
            uow.commit()

    def files(self, job_id: UUID) -> list[BulkFile]:
        """The files of a job, and how far each is stored."""
        with self.open_unit_of_work() as uow:
            return uow.pulls.files(job_id)

    def advance(self, file: BulkFile) -> None:
        """Keep how far a file is stored, where nothing new is stored with it."""
        with self.open_unit_of_work() as uow:
            uow.pulls.advance(file)
            uow.commit()

    def take_lines(self, delivery: Delivery, file: BulkFile, act: Act) -> bool:
        """Store lines of a file and how far it is stored then; whether they are new."""
        return self._take(delivery, act, lambda uow: uow.pulls.advance(file))

    def end(self, job: BulkJob, state: JobState, act: Act, **counts: int) -> None:
        """End a job, with the audit entry that says how it ended and how much came."""
        with self.open_unit_of_work() as uow:
            uow.pulls.end(job.job_id, state)
            self._audit(uow, act, how="bulk", site=job.site, job=job.job_id, state=state, **counts)
            uow.commit()

    def take_turn(
        self, site: str, record_type: str, lease: timedelta, every: timedelta | None
    ) -> PollTurn | None:
        """Be the only one who asks a site for a type; None where somebody is, or it is too soon."""
        with self.open_unit_of_work() as uow:
            turn = uow.pulls.take_turn(site, record_type, lease, every)
            uow.commit()
        return turn

    def take_page(
        self,
        delivery: Delivery,
        turn: PollTurn,
        act: Act,
        *,
        watermark: datetime | None,
        lease: timedelta,
    ) -> bool:
        """Store a page and move the watermark; whether it is new. None: the watermark stays.

        Raises:
            TakenOverError: somebody else has the turn; nothing is kept.
        """
        return self._take(delivery, act, lambda uow: uow.pulls.move(turn, watermark, lease))

    def hold(self, turn: PollTurn, watermark: datetime | None, lease: timedelta) -> None:
        """Keep the turn, and move the watermark where one is given; raises TakenOverError."""
        with self.open_unit_of_work() as uow:
            uow.pulls.move(turn, watermark, lease)
            uow.commit()

    def end_turn(
        self,
        turn: PollTurn,
        act: Act,
        *,
        error_code: str = "",
        again_after: timedelta | None = None,
        told: str = "",
        new_pages: int,
        outcomes: int,
    ) -> None:
        """Give the turn back; one that went well and brought nothing new leaves no audit entry.

        `told` are the names of what was odd, `again_after` how long the EHR wants to be left alone.

        Raises:
            TakenOverError
        """
        with self.open_unit_of_work() as uow:
            uow.pulls.end_turn(turn, error_code, again_after)
            if error_code or new_pages:
                why = {"why": error_code} if error_code else {}
                oddly = {"told": told} if told else {}
                self._audit(
                    uow,
                    act,
                    how="poll",
                    site=turn.site,
                    record_type=turn.record_type,
                    new_pages=new_pages,
                    outcomes=outcomes,
                    **why,
                    **oddly,
                )
            uow.commit()

    def take_answer(self, delivery: Delivery, act: Act) -> bool:
        """Store an answer to a question about one patient; whether it is new."""
        return self._take(delivery, act, lambda _: None)

    def note_patient(self, site: str, act: Act, *, error_code: str = "", **counts: int) -> None:
        """Say in the log that everything of a patient was asked for; not of whom."""
        why = {"why": error_code} if error_code else {}
        with self.open_unit_of_work() as uow:
            self._audit(uow, act, how="everything", site=site, **why, **counts)
            uow.commit()

    def _take(self, delivery: Delivery, act: Act, beside: Callable[[UnitOfWork], None]) -> bool:
        """What is held under the same name is not stored again, though an EHR wraps it differently."""
        with self.open_unit_of_work() as uow:
            if uow.inbox.holds(delivery):
                beside(uow)
                uow.commit()
                return False
        return self.receive(delivery, act, beside=beside).is_new

    def _audit(self, uow: UnitOfWork, act: Act, **refs: object) -> None:
        uow.audit_log.append(act.entry(self.identities.new(), AuditKind.EHR_PULLED, **refs))
