"""What is asked of an EHR on our own account: how far each question has come. No patient data."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class JobState(StrEnum):
    """How far a bulk job is."""

    RUNNING = "running"  # the EHR took it, and writes its files
    LISTED = "listed"  # the EHR said which files there are
    DONE = "done"  # every line of every file is stored
    SHORT = "short"  # likewise, but a file held fewer lines than the EHR had said
    EXPIRED = "expired"  # the EHR threw the job or a file away before all was stored
    FAILED = "failed"  # the EHR said no, or never became ready


class FileKind(StrEnum):
    """What the lines of a file say."""

    OUTPUT = "output"  # resources
    DELETED = "deleted"  # transaction Bundles that delete
    ERROR = "error"  # OperationOutcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkJob:
    """One `$export` of an EHR. `scope` says what was asked for, and is the same for the same question.

    `since` and `transaction_time` are in the EHR's own words, for they go back to it: empty where
    there is none.
    """

    job_id: UUID
    site: str
    scope: str
    status_url: str
    since: str
    begun_at: datetime
    state: JobState = JobState.RUNNING
    transaction_time: str = ""
    needs_token: bool = True
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkFile:
    """One file of a job, and how far it is stored.

    All of its first `num_lines` lines are, and `prefix_digest` (hex SHA-256) is of exactly these.
    """

    job_id: UUID
    number: int
    kind: FileKind
    record_type: str
    url: str
    count: int | None  # of lines, as the EHR said
    num_lines: int = 0
    prefix_digest: str = ""
    is_done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PollTurn:
    """The right to ask a site for what changed, until somebody else has it.

    `watermark`: everything that the EHR stamped before it is stored, but for what the EHR brings to
    light late; None before the first turn.
    """

    site: str
    record_type: str
    fence: int
    watermark: datetime | None


class Pulls(Protocol):
    """Bulk jobs with their files, and the watermarks of polls. The clock of turns is the storage's."""

    def begin(self, job: BulkJob) -> bool:
        """Remember; False where a job of this site and scope is under way."""
        ...

    def under_way(self, site: str, scope: str) -> BulkJob | None:
        """The job that is running or listed."""
        ...

    def list_files(self, job: BulkJob, files: Sequence[BulkFile]) -> None:
        """Keep what the EHR said in its manifest; the job is LISTED now."""
        ...

    def files(self, job_id: UUID) -> list[BulkFile]:
        """In the order of their numbers."""
        ...

    def advance(self, file: BulkFile) -> None:
        """Keep how far the file is stored."""
        ...

    def end(self, job_id: UUID, state: JobState) -> None:
        """Nothing more is done for it; the addresses that it had are forgotten."""
        ...

    def completed_until(self, site: str, scope: str) -> str:
        """The `transaction_time` of the last job of this scope that is DONE; empty where none is."""
        ...

    def take_turn(
        self, site: str, record_type: str, lease: timedelta, every: timedelta | None
    ) -> PollTurn | None:
        """Take the turn for `lease`; None where somebody has it, or the last began less than `every` ago."""
        ...

    def move(self, turn: PollTurn, watermark: datetime | None, lease: timedelta) -> None:
        """Move the watermark forward, never back, and hold the turn for `lease` from now.

        Raises:
            TakenOverError: somebody else has the turn; the transaction is to be given up.
        """
        ...

    def end_turn(self, turn: PollTurn, error_code: str, again_after: timedelta | None) -> None:
        """Give the turn back. `again_after`: the next one is not before."""
        ...
