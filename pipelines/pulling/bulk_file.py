"""One file of an export, read to its end and stored line by line, from wherever that broke off.

Each chunk of lines is stored in one commit with how far the file is stored then. What is stored of a
file is compared when it is read again: one that changed meanwhile is read from its first line.
"""

import hashlib
from dataclasses import replace

from adapters.egress.errors import PeerRefusedError, PeerUnavailableError
from adapters.fhir.bundle import NDJSON
from adapters.fhir.files import Chunk
from adapters.fhir.pulling.errors import ExpiredExportError
from clinical.audit.entry import Act
from clinical.errors import OperationalError
from clinical.services.delivery import Delivery, Door
from clinical.services.ports import BulkFile, BulkJob, FileKind
from pipelines.pulling.errand import ACTOR, Errand, Patience


class ChangedFileError(OperationalError):
    """What was stored of the file is not what it begins with now."""

    code = "pull.changed_file"


class FileReading:
    """One file while it is read, with how far it is stored."""

    def __init__(self, errand: Errand, job: BulkJob, file: BulkFile) -> None:
        """Nothing is read yet."""
        self._errand = errand
        self._job = job
        self._file = file

    def run(self) -> BulkFile:
        """Read it to its end; raises ExpiredExportError, and as `Peer.ask` does."""
        patience = Patience(self._errand)
        while not self._file.is_done:
            before = self._file.num_lines
            try:
                self._read()
            except ChangedFileError as error:
                self._errand.report.num_changed_files += 1
                self._keep(replace(self._file, num_lines=0, prefix_digest=""))
                patience.pause_after(error)
            except PeerUnavailableError as error:
                if self._file.num_lines > before:
                    patience.over()
                self._errand.pause(patience.pause_after(error))
            except PeerRefusedError as error:
                expires = self._job.expires_at
                if expires is not None and self._errand.clock.now() >= expires:
                    raise ExpiredExportError("the file is refused, and its time is over") from error
                raise
        return self._file

    def _read(self) -> None:
        exports = self._errand.site.exports
        stored, prefix = self._file, hashlib.sha256()
        is_beyond = stored.num_lines == 0
        with exports.lines(stored.url, needs_token=self._job.needs_token) as chunks:
            for chunk in chunks:
                if not is_beyond and chunk.first_line > stored.num_lines:
                    is_beyond = _is_same(prefix.hexdigest(), stored)
                prefix.update(chunk.body)
                if is_beyond:
                    self._take(chunk, prefix.hexdigest())
        if not is_beyond:
            _is_same(prefix.hexdigest(), stored)
        self._keep(replace(self._file, is_done=True))

    def _take(self, chunk: Chunk, prefix_digest: str) -> None:
        num_lines = chunk.first_line - 1 + chunk.num_lines
        file = replace(self._file, num_lines=num_lines, prefix_digest=prefix_digest)
        errand, report = self._errand, self._errand.report
        act = Act(actor=ACTOR, at=errand.clock.now())
        is_new = errand.service.take_lines(self._delivery(chunk), file, act)
        self._file = file
        report.num_deliveries += 1
        report.num_new_deliveries += is_new
        report.num_lines += chunk.num_lines
        report.num_new_lines += chunk.num_lines if is_new else 0
        if file.kind is FileKind.ERROR:
            report.num_outcomes += chunk.num_lines
        errand.watch(report)

    def _delivery(self, chunk: Chunk) -> Delivery:
        context = {"first_line": str(chunk.first_line)}
        salt = b""
        if chunk.problem is not None:
            context["problem"] = chunk.problem.value
            salt = chunk.problem.value.encode()
        if self._file.kind is not FileKind.OUTPUT:
            # The same words again are another deletion, or another complaint.
            context["bulk_file"] = self._file.kind.value
            context["transaction_time"] = self._job.transaction_time
            salt += f"{self._file.kind.value}|{self._job.transaction_time}|".encode()
        return Delivery(
            delivery_id=self._errand.identities.new(),
            site=self._job.site,
            door=Door.FHIR_BULK,
            sender_id=hashlib.sha256(salt + chunk.body).hexdigest(),
            body=chunk.body,
            content_type=NDJSON,
            received_at=self._errand.clock.now(),
            context=context,
        )

    def _keep(self, file: BulkFile) -> None:
        self._errand.service.advance(file)
        self._file = file


def _is_same(digest: str, stored: BulkFile) -> bool:
    """True; raises ChangedFileError where the file does not begin with what is stored of it."""
    if digest != stored.prefix_digest:
        raise ChangedFileError("the file does not begin with what is stored of it")
    return True
