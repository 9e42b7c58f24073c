"""Takes files in: FHIR, MEDS tables, HL7 v2 and C-CDA become deliveries, and deliveries events.

Knows how to tell what a file is, how many deliveries may be under way, and what to count. Does not
know what a resource or a row means: that is the readers', behind `Intake`. Memory does not grow with
the input. Each delivery is stored raw before it is parsed: an import that breaks off loses nothing,
and the same command takes up where it stopped.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from adapters.ccda import files as ccda_files
from adapters.db.inbox import AlreadyRecordedError
from adapters.fhir import files as fhir_files
from adapters.hl7v2 import files as hl7_files
from adapters.meds import errors as meds_errors
from adapters.meds import files as meds_files
from clinical.audit.entry import Act
from clinical.errors import OperationalError, RejectedError
from clinical.services.delivery import Delivery
from clinical.services.intake import Intake
from clinical.services.ports import Clock, Identities

ACTOR = "import"
# One lane reads while another waits for the database to write; more than three wait for each other.
_NUM_LANES = 3
_MAX_BYTES_UNDER_WAY = 16 * 1024 * 1024
_LOOK_AGAIN_SECONDS = 1.0


class PathNotFoundError(RejectedError):
    """There is no such file or folder."""

    code = "import.path_not_found"


class UnreadableFileError(OperationalError):
    """Files are there, and not one of them can be opened and read."""

    code = "import.unreadable_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of one delivery; `is_repeated` where these bytes had been taken in before."""

    is_repeated: bool
    num_bytes: int
    num_events: int
    num_new_events: int
    counts: Counter[str]
    quarantined: Counter[str]


@dataclass(slots=True, kw_only=True)
class ImportReport:
    """What an import found and did, so far or in all.

    The keys of `counts` are those of `Reading.counts`, those of `quarantined` are reason codes.
    """

    num_files: int = 0
    num_files_ignored: int = 0
    num_files_unreadable: int = 0
    num_deliveries: int = 0
    num_repeated: int = 0
    num_bytes: int = 0
    num_events: int = 0
    num_new_events: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)

    @property
    def num_records(self) -> int:
        """Records looked at: read, left out by design, and quarantined."""
        return sum(
            counter.total()
            for counter in (self.family("record"), self.family("skipped"), self.quarantined)
        )

    def family(self, family: str) -> Counter[str]:
        """The counts whose keys begin with `family:`, by the rest of the key."""
        prefix = f"{family}:"
        return Counter(
            {k[len(prefix) :]: n for k, n in self.counts.items() if k.startswith(prefix)}
        )

    def add(self, taken: Taken) -> None:
        """Count one delivery more."""
        self.num_deliveries += 1
        self.num_repeated += taken.is_repeated
        self.num_bytes += taken.num_bytes
        self.num_events += taken.num_events
        self.num_new_events += taken.num_new_events
        self.counts.update(taken.counts)
        self.quarantined.update(taken.quarantined)


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    """Takes in what lies at a path, for one site; `predict` owes a prediction where there is news.

    While it `is_crowded` (live work waits) it takes in nothing more.
    """

    intake: Intake
    clock: Clock
    identities: Identities
    site: str
    predict: bool = True
    is_crowded: Callable[[], bool] = lambda: False

    def run(self, path: Path, watch: Callable[[ImportReport], None]) -> ImportReport:
        """Take in everything at `path`; `watch` is told after each delivery.

        Raises:
            PathNotFoundError, UnreadableFileError
            NothingToImportError: nothing there is of a kind that can be taken in.
        """
        require(path)
        report = ImportReport()
        start = time.monotonic()
        for taken in self._taken(self._deliveries(path, report)):
            report.add(taken)
            report.seconds = time.monotonic() - start
            watch(report)
        if report.num_files == 0:
            _refuse(report)
        return report

    def _taken(self, deliveries: Iterable[Delivery]) -> Iterator[Taken]:
        """In the order of the deliveries; large ones go alone, so that memory is bounded."""
        with ThreadPoolExecutor(_NUM_LANES, thread_name_prefix="lane") as lanes:
            under_way: deque[tuple[int, Future[Taken]]] = deque()
            for delivery in deliveries:
                while self.is_crowded():
                    time.sleep(_LOOK_AGAIN_SECONDS)
                weight = _weight(delivery)
                while under_way and (
                    len(under_way) > _NUM_LANES
                    or weight + sum(other for other, _ in under_way) > _MAX_BYTES_UNDER_WAY
                ):
                    yield under_way.popleft()[1].result()
                under_way.append((weight, lanes.submit(self._take, delivery)))
            while under_way:
                yield under_way.popleft()[1].result()

    def _take(self, delivery: Delivery) -> Taken:
        act = Act(actor=ACTOR, at=self.clock.now())
        receipt = self.intake.receive(delivery, act, understand_later=False)
        # Also when it was held: an earlier import may have ended before it was understood.
        try:
            recorded = self.intake.record(receipt.delivery_id, act, predict=self.predict)
        except AlreadyRecordedError:
            # Somebody imports the same at the same time: theirs stands, and now this sees it.
            recorded = self.intake.record(receipt.delivery_id, act, predict=self.predict)
        reading = recorded.reading
        return Taken(
            is_repeated=not receipt.is_new,
            num_bytes=len(delivery.body),
            num_events=len(reading.events),
            num_new_events=recorded.num_new_events,
            counts=reading.counts,
            quarantined=Counter(record.reason_code for record in reading.quarantined),
        )

    def _deliveries(self, path: Path, report: ImportReport) -> Iterator[Delivery]:
        for source, read in _sources(path, report):
            try:
                yield from read(
                    source, site=self.site, clock=self.clock, identities=self.identities
                )
            except (fhir_files.NothingToImportError, meds_errors.NothingToImportError):
                report.num_files_ignored += 1
            except OSError:
                report.num_files_unreadable += 1
            else:
                report.num_files += 1


def require(path: Path) -> None:
    """Return if something is there; raises PathNotFoundError."""
    if not path.exists():
        raise PathNotFoundError("there is no such file or folder")


class _Read(Protocol):
    def __call__(
        self, path: Path, *, site: str, clock: Clock, identities: Identities
    ) -> Iterator[Delivery]: ...


def _sources(path: Path, report: ImportReport) -> Iterator[tuple[Path, _Read]]:
    """What to read, and with what: the files below a folder in the order of their paths.

    A MEDS folder is one source; what lies beside its tables is counted as ignored.
    """
    if path.is_file():
        yield path, meds_files.deliveries if meds_files.is_meds(path) else _reader_of(path)
        return
    files = sorted(each for each in path.rglob("*") if each.is_file())
    if meds_files.is_meds(path):
        report.num_files_ignored += sum(not meds_files.is_meds(each) for each in files)
        yield path, meds_files.deliveries
        return
    for each in files:
        yield each, _reader_of(each)


def _reader_of(path: Path) -> _Read:
    if hl7_files.is_hl7(path):
        return hl7_files.deliveries
    return ccda_files.deliveries if ccda_files.is_ccda(path) else fhir_files.deliveries


def _weight(delivery: Delivery) -> int:
    """About how many bytes it is once opened."""
    num_bytes = len(delivery.body)
    if delivery.context.get("encoding") != "gzip":
        return num_bytes
    # The last four bytes of gzip tell (RFC 1952, ISIZE); a lie there is refused when it is opened.
    return max(num_bytes, min(int.from_bytes(delivery.body[-4:], "little"), _MAX_BYTES_UNDER_WAY))


def _refuse(report: ImportReport) -> None:
    if report.num_files_unreadable:
        raise UnreadableFileError("no file here could be opened and read")
    raise fhir_files.NothingToImportError(
        "nothing here is FHIR JSON, NDJSON (plain or .gz), a MEDS table, HL7 v2 or C-CDA"
    )
