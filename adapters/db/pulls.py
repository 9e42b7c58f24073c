"""How far we have come with what we ask an EHR for: bulk jobs, their files, and polls.

Knows their tables, and that the clock of turns is the database's. Does not know HTTP or FHIR.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, RowMapping, Update, and_, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.db.pull_tables import bulk_files, bulk_jobs, polls
from clinical.services.messages import TakenOverError
from clinical.services.ports import BulkFile, BulkJob, FileKind, JobState, PollTurn

# A literal, as in the partial index: bound values would not match it once the statement is prepared.
_IS_UNDER_WAY = text("state IN ('running', 'listed')")


class SqlPulls:
    """Implements the port `Pulls` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def begin(self, job: BulkJob) -> bool:
        """Remember; the partial unique index holds one job under way for each site and scope."""
        statement = (
            upsert(bulk_jobs)
            .values(
                job_id=job.job_id,
                site=job.site,
                scope=job.scope,
                status_url=job.status_url,
                since=job.since,
                begun_at=job.begun_at,
                state=job.state.value,
                transaction_time=job.transaction_time,
                needs_token=job.needs_token,
            )
            .on_conflict_do_nothing(index_elements=["site", "scope"], index_where=_IS_UNDER_WAY)
            .returning(bulk_jobs.c.job_id)
        )
        return self._connection.execute(statement).scalar() is not None

    def under_way(self, site: str, scope: str) -> BulkJob | None:
        """The job that is running or listed."""
        query = select(bulk_jobs).where(
            bulk_jobs.c.site == site, bulk_jobs.c.scope == scope, _IS_UNDER_WAY
        )
        row = self._connection.execute(query).mappings().one_or_none()
        return _job(row) if row is not None else None

    def list_files(self, job: BulkJob, files: Sequence[BulkFile]) -> None:
        """Keep what the EHR said in its manifest; the job is LISTED now."""
        self._connection.execute(
            update(bulk_jobs)
            .where(bulk_jobs.c.job_id == job.job_id)
            .values(
                state=JobState.LISTED.value,
                transaction_time=job.transaction_time,
                needs_token=job.needs_token,
                expires_at=job.expires_at,
            )
        )
        if files:
            rows = [
                {"job_id": job.job_id, "number": each.number, **_columns(each)} for each in files
            ]
            self._connection.execute(insert(bulk_files), rows)

    def files(self, job_id: UUID) -> list[BulkFile]:
        """In the order of their numbers."""
        query = select(bulk_files).where(bulk_files.c.job_id == job_id)
        rows = self._connection.execute(query.order_by(bulk_files.c.number)).mappings()
        return [BulkFile(**{**row, "kind": FileKind(row["kind"])}) for row in rows]

    def advance(self, file: BulkFile) -> None:
        """Keep how far the file is stored."""
        is_it = and_(bulk_files.c.job_id == file.job_id, bulk_files.c.number == file.number)
        self._connection.execute(update(bulk_files).where(is_it).values(**_columns(file)))

    def end(self, job_id: UUID, state: JobState) -> None:
        """Nothing more is done for it; the addresses that it had, which may open doors, are forgotten."""
        now = func.statement_timestamp()
        self._connection.execute(
            update(bulk_jobs)
            .where(bulk_jobs.c.job_id == job_id)
            .values(state=state.value, ended_at=now, status_url="")
        )
        self._connection.execute(
            update(bulk_files).where(bulk_files.c.job_id == job_id).values(url="")
        )

    def completed_until(self, site: str, scope: str) -> str:
        """The `transaction_time` of the last job of this scope that is DONE; empty where none is."""
        query = (
            select(bulk_jobs.c.transaction_time)
            .where(
                bulk_jobs.c.site == site,
                bulk_jobs.c.scope == scope,
                bulk_jobs.c.state == JobState.DONE.value,
            )
            .order_by(bulk_jobs.c.ended_at.desc())
            .limit(1)
        )
        return self._connection.execute(query).scalar() or ""

    def take_turn(
        self, site: str, record_type: str, lease: timedelta, every: timedelta | None
    ) -> PollTurn | None:
        """Take the turn for `lease`; None where somebody has it, or the last began less than `every` ago."""
        new = upsert(polls).values(site=site, record_type=record_type, fence=0, last_error_code="")
        self._connection.execute(new.on_conflict_do_nothing())
        now = func.statement_timestamp()
        c = polls.c
        is_free = or_(c.leased_until.is_(None), c.leased_until < now)
        if every is not None:
            is_due = or_(c.begun_at.is_(None), c.begun_at <= now - every)
            is_free = and_(is_free, is_due, or_(c.due_at.is_(None), c.due_at <= now))
        statement = (
            update(polls)
            .where(c.site == site, c.record_type == record_type, is_free)
            .values(leased_until=now + lease, begun_at=now, due_at=None, fence=c.fence + 1)
            .returning(c.fence, c.watermark)
        )
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            return None
        return PollTurn(
            site=site, record_type=record_type, fence=row.fence, watermark=row.watermark
        )

    def move(self, turn: PollTurn, watermark: datetime | None, lease: timedelta) -> None:
        """Move the watermark forward, never back, and hold the turn; raises TakenOverError."""
        self._settle(
            _of(turn).values(
                watermark=func.greatest(polls.c.watermark, watermark),
                leased_until=func.statement_timestamp() + lease,
            )
        )

    def end_turn(self, turn: PollTurn, error_code: str, again_after: timedelta | None) -> None:
        """Give the turn back; raises TakenOverError."""
        due = None if again_after is None else func.statement_timestamp() + again_after
        self._settle(_of(turn).values(leased_until=None, last_error_code=error_code, due_at=due))

    def _settle(self, statement: Update) -> None:
        if self._connection.execute(statement).rowcount != 1:
            raise TakenOverError("somebody else asks this site by now")


def _of(turn: PollTurn) -> Update:
    return update(polls).where(
        polls.c.site == turn.site,
        polls.c.record_type == turn.record_type,
        polls.c.fence == turn.fence,
        polls.c.leased_until.is_not(None),
    )


def _columns(file: BulkFile) -> dict[str, object]:
    return {
        "kind": file.kind.value,
        "record_type": file.record_type,
        "url": file.url,
        "count": file.count,
        "num_lines": file.num_lines,
        "prefix_digest": file.prefix_digest,
        "is_done": file.is_done,
    }


def _job(row: RowMapping) -> BulkJob:
    return BulkJob(
        job_id=row["job_id"],
        site=row["site"],
        scope=row["scope"],
        status_url=row["status_url"],
        since=row["since"],
        begun_at=row["begun_at"],
        state=JobState(row["state"]),
        transaction_time=row["transaction_time"],
        needs_token=row["needs_token"],
        expires_at=row["expires_at"],
    )
