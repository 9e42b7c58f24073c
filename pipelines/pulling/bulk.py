"""A bulk export from its kick-off to its end; whatever kills it, the next run goes on with it."""

import contextlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from adapters.egress.errors import PeerBusyError, PeerRefusedError, PeerUnavailableError
from adapters.fhir.pulling.bulk import Listed, Manifest, Scope
from adapters.fhir.pulling.errors import ExpiredExportError, LoopingPagesError
from clinical.audit.entry import Act
from clinical.errors import OperationalError, RejectedError
from clinical.services.ports import BulkFile, BulkJob, JobState
from clinical.services.pulling import JobUnderWayError
from pipelines.pulling.bulk_file import FileReading
from pipelines.pulling.errand import ACTOR, BulkReport, Errand, Patience

_STILL_THERE = frozenset({401, 403})  # our credentials are at fault, and the job may be well


class NeverReadyError(OperationalError):
    """The EHR did not get ready within the time that the site allows: the job is called off."""

    code = "pull.never_ready"


class NothingUnderWayError(RejectedError):
    """There is no export of this scope to go on with."""

    code = "pull.nothing_under_way"


class GapError(RejectedError):
    """What changed between the last export and this moment would never be asked for."""

    code = "pull.gap"


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPull:
    """One export of one scope."""

    errand: Errand
    scope: Scope

    def begin(self, *, since: str | None = None) -> BulkReport:
        """A new export: of what changed since the last one that was complete, or since `since`.

        Raises:
            JobUnderWayError
            GapError: `since` is later than the last one.
            NeverReadyError, ExpiredExportError, and as `Peer.ask` does: `resume` goes on with it.
        """
        if self._under_way() is not None:
            raise JobUnderWayError(
                "an export of this scope is under way: go on with it, or call it off"
            )
        last = self.errand.service.completed_until(self._name, self.scope.key)
        _require_no_gap(last, since)
        return self._run(self._kick_off(last if since is None else since))

    def resume(self) -> BulkReport:
        """Go on with the export that is under way; raises NothingUnderWayError, and as `begin` does."""
        job = self._under_way()
        if job is None:
            raise NothingUnderWayError("no export of this scope is under way")
        return self._run(job)

    def call_off(self) -> None:
        """End the export that is under way, if any; what is stored of it stays."""
        job = self._under_way()
        if job is not None:
            self._end(job, JobState.FAILED)

    @property
    def _name(self) -> str:
        return self.errand.site.asking.site

    def _under_way(self) -> BulkJob | None:
        return self.errand.service.under_way(self._name, self.scope.key)

    def _run(self, job: BulkJob) -> BulkReport:
        """To the end; where the EHR threw it away meanwhile, once more from a new kick-off."""
        try:
            self._finish(job)
        except ExpiredExportError:
            self._end(job, JobState.EXPIRED)
            self.errand.report.num_restarts += 1
            job = self._kick_off(job.since)
            try:
                self._finish(job)
            except ExpiredExportError:
                self._end(job, JobState.EXPIRED)
                raise
        return self.errand.report

    def _kick_off(self, since: str) -> BulkJob:
        job = BulkJob(
            job_id=self.errand.identities.new(),
            site=self._name,
            scope=self.scope.key,
            status_url=self._accepted(since),
            since=since,
            begun_at=self.errand.clock.now(),
        )
        self.errand.service.begin(job)
        return job

    def _accepted(self, since: str) -> str:
        patience = Patience(self.errand)
        while True:
            try:
                return self.errand.site.exports.kick_off(
                    self.scope, since=since, output_format=self.errand.site.bulk.output_format
                )
            except PeerBusyError as error:  # of all else, who asked hears at once
                self.errand.pause(patience.pause_after(error))

    def _finish(self, job: BulkJob) -> None:
        if job.state is JobState.RUNNING:
            job = self._list(job)
        self.errand.report.waiting_for = ""
        self.errand.report.transaction_time = job.transaction_time
        files = self.errand.service.files(job.job_id)
        self.errand.report.num_files = len(files)
        is_short = False
        for file in files:
            done = file if file.is_done else FileReading(self.errand, job, file).run()
            self.errand.report.num_files_done += 1
            is_short |= self._compare(done)
            self.errand.watch(self.errand.report)
        self._end(job, JobState.SHORT if is_short else JobState.DONE)

    def _list(self, job: BulkJob) -> BulkJob:
        """Wait for the manifest, all pages of it, and keep it."""
        url, seen, files = job.status_url, set[str](), list[Listed]()
        first: Manifest | None = None
        while url:
            if url in seen:
                raise LoopingPagesError("a page of the manifest leads back to one before it")
            seen.add(url)
            page = self._ready(job, url)
            first = first or page
            files += page.files
            url = page.next_url
        assert first is not None
        job = replace(
            job,
            state=JobState.LISTED,
            transaction_time=first.transaction_time,
            needs_token=first.needs_token,
            expires_at=first.expires_at,
        )
        self.errand.service.list_files(
            job, [_file(job, number, each) for number, each in enumerate(files)]
        )
        return job

    def _ready(self, job: BulkJob, url: str) -> Manifest:
        patience = Patience(self.errand)
        deadline = job.begun_at + timedelta(minutes=self.errand.site.bulk.max_wait_minutes)
        while True:
            try:
                told = self.errand.site.exports.status(url)
            except PeerUnavailableError as error:
                pause = patience.pause_after(error)
            except PeerRefusedError as error:
                if error.status not in _STILL_THERE:
                    self._end(job, JobState.FAILED)
                raise
            else:
                if isinstance(told, Manifest):
                    return told
                self.errand.report.waiting_for = told.progress or "the EHR to get ready"
                self.errand.watch(self.errand.report)
                pause = patience.pause_until_next(told.after)
            if self.errand.clock.now() + pause >= deadline:
                self._end(job, JobState.FAILED)
                raise NeverReadyError("the EHR did not get ready in the time that the site allows")
            self.errand.pause(pause)

    def _compare(self, file: BulkFile) -> bool:
        """Tell where the EHR had counted other than we did; whether lines are missing."""
        if file.count is None or file.count == file.num_lines:
            return False
        self.errand.report.miscounted.append((file.record_type, file.count, file.num_lines))
        return file.num_lines < file.count

    def _end(self, job: BulkJob, state: JobState) -> None:
        """Tell the EHR that it may throw its files away, and remember how it ended."""
        # Where it does not hear that, it throws them away by itself, sooner or later.
        with contextlib.suppress(PeerUnavailableError):
            self.errand.site.exports.end(job.status_url)
        report = self.errand.report
        report.state = state
        self.errand.service.end(
            job,
            state,
            Act(actor=ACTOR, at=self.errand.clock.now()),
            files=report.num_files_done,
            lines=report.num_lines,
            deliveries=report.num_deliveries,
            new_deliveries=report.num_new_deliveries,
            outcomes=report.num_outcomes,
            miscounted=len(report.miscounted),
        )


def _file(job: BulkJob, number: int, listed: Listed) -> BulkFile:
    return BulkFile(
        job_id=job.job_id,
        number=number,
        kind=listed.kind,
        record_type=listed.record_type,
        url=listed.url,
        count=listed.count,
    )


def _require_no_gap(last: str, since: str | None) -> None:
    if last and since and datetime.fromisoformat(since) > datetime.fromisoformat(last):
        raise GapError("what changed between the last export and this moment would be left out")
