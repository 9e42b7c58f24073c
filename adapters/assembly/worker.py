"""The worker process: every journey joined with the adapters that it needs. It never loads torch.

Knows which class implements which port. Does not know the broker beyond where it is.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from adapters import telemetry
from adapters.assembly import keys, load, nabla
from adapters.assembly.asking import PulledSite, polled_sites
from adapters.assembly.database import database_url
from adapters.assembly.health import health_limits
from adapters.assembly.receivers import announced, receivers
from adapters.assembly.sites import (
    ehrs,
    ensure_keys,
    key_ring,
    public_keys_url,
    site_ways,
    sites,
)
from adapters.assembly.subscribing import reader_of, subscribed
from adapters.clock import TimeOrderedIdentities
from adapters.db.doorbell import Doorbell, open_doorbell
from adapters.db.engine import (
    LONGEST_ANSWER_SECONDS,
    LONGEST_PAUSE_SECONDS,
    create_engine,
)
from adapters.db.moments import DatabaseClock
from adapters.db.operating import Operating
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.fhir.client import Ehr, FhirGateway
from adapters.fhir.noted import Failures, NotedGateway, NotedSource
from adapters.fhir.notified import FetchedReader, NotificationReader
from adapters.fhir.reader import BulkReader, StrictReader
from adapters.model_server.client import HttpModelServer
from adapters.nabla.core_reader import CoreReader
from adapters.nabla.reader import ConnectReader, NormalizedReader
from adapters.operations import tracing
from adapters.operations.health import HealthLimits
from adapters.operations.metrics import Unwatched, WatchesModel, WatchesWork, WorkerMetrics
from adapters.operations.serving import Served
from adapters.operations.tallies import TallyPipe
from adapters.settings import Settings
from adapters.sites.site import Site
from clinical.services.access import AccessService
from clinical.services.announcing import AnnouncingService
from clinical.services.audit import AuditService
from clinical.services.delivery import Delivery, Door, Reading
from clinical.services.following import Following
from clinical.services.intake import Intake
from clinical.services.ledger import LedgerService
from clinical.services.messages import MessageKind
from clinical.services.notes import NoteService
from clinical.services.ports import (
    Clock,
    Identities,
    OpenUnitOfWork,
    Reader,
)
from clinical.services.prediction import PredictionService
from clinical.services.shedding import SheddingService
from clinical.services.subscription import SubscriptionService
from clinical.services.writeback import WriteBackService

# The client waits a little longer than the server lets a question wait, so the server's word counts.
_EXTRA_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where ids of messages travel: an AMQP broker, or a folder where there is none."""

    url: str | None
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a worker works with; the connections in it belong to the process that made it."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    lease: timedelta
    intake: Intake
    predictions: PredictionService
    write_backs: WriteBackService
    notes: NoteService
    announcing: AnnouncingService
    subscriptions: SubscriptionService
    audit: AuditService
    ledger: LedgerService
    shedding: SheddingService
    open_doorbell: Callable[[], AbstractContextManager[Doorbell]]
    operating: Operating
    watch: WatchesWork = field(default_factory=Unwatched)


def broker(settings: Settings) -> Broker:
    """The broker in the settings, or the folder of the embedded one."""
    url = settings.broker_url.get_secret_value() if settings.broker_url else None
    return Broker(url=url, folder=settings.data_dir.absolute() / "broker")


def readers(known: Mapping[str, Site] | None = None) -> dict[Door, Reader]:
    """Who understands what came by which door, by what is known of each of the sites."""
    sites = known or {}
    ways = site_ways(sites)
    messages = _WhenNeeded(partial(_message_reader, sites))
    documents = _WhenNeeded(partial(_document_reader, sites))
    return {
        Door.FHIR: StrictReader(ways),
        Door.FHIR_NOTIFICATION: NotificationReader(partial(reader_of, sites), ways),
        Door.FHIR_FETCHED: FetchedReader(ways),
        Door.FHIR_BULK: BulkReader(ways),
        Door.NABLA_CONNECT: ConnectReader(),
        Door.NABLA_CORE: CoreReader(),
        Door.NABLA_NORMALIZED: NormalizedReader(),
        Door.MEDS: _WhenNeeded(_meds_reader),
        Door.HL7V2: messages,
        Door.HL7V2_FILE: messages,
        Door.CCDA: documents,
        Door.CCDA_FILE: documents,
    }


def _ehrs(settings: Settings, clock: Clock) -> dict[str, Ehr]:
    known, own_keys = sites(settings), key_ring(settings, clock)
    ensure_keys(known, own_keys)
    return ehrs(known, own_keys, clock, public_keys_url(settings))


class _WhenNeeded:
    """A reader that is made at its first delivery, because few workers ever need it."""

    def __init__(self, make: Callable[[], Reader]) -> None:
        self._make = make
        self._reader: Reader | None = None

    def read(self, delivery: Delivery) -> Reading:
        if self._reader is None:
            self._reader = self._make()
        return self._reader.read(delivery)


def _meds_reader() -> Reader:
    from adapters.meds.reader import MedsReader  # noqa: PLC0415 - pyarrow costs memory

    return MedsReader()


def _message_reader(known: Mapping[str, Site]) -> Reader:
    from adapters.hl7v2.reader import Hl7v2Reader  # noqa: PLC0415 - few sites send HL7 v2

    return Hl7v2Reader({name: site.hl7v2 for name, site in known.items() if site.hl7v2})


def _document_reader(known: Mapping[str, Site]) -> Reader:
    from adapters.ccda.reader import CcdaReader  # noqa: PLC0415 - the converter and lxml cost memory

    rules = {name: site.ccda for name, site in known.items() if site.ccda}
    return CcdaReader(rules, StrictReader().read)


def models(settings: Settings, watch: WatchesModel | None = None) -> HttpModelServer:
    """The model process, over HTTP."""
    return HttpModelServer(
        f"http://{settings.model_host}:{settings.model_port}",
        settings.model_timeout_ms / 1000 + _EXTRA_SECONDS,
        watch=watch,
    )


def open_parts(
    settings: Settings,
    database_url: str,
    watch: WatchesWork | None = None,
    engine: Engine | None = None,
) -> Parts:
    """Everything a process of the worker needs, with connections of its own unless an engine is given."""
    tracing.configure("worker", settings.traces_endpoint)
    if engine is None:
        engine = create_engine(
            database_url,
            pool_size=2,
            longest_pause_seconds=LONGEST_PAUSE_SECONDS,
            longest_answer_seconds=LONGEST_ANSWER_SECONDS,
        )
    # A worker whose own clock is slow would not see what just came in.
    clock, identities = DatabaseClock(engine), TimeOrderedIdentities()
    known = sites(settings)
    open_unit_of_work = unit_of_work_factory(engine, announced=announced(known))
    coder = nabla.coder(settings, known, clock)
    servers = _ehrs(settings, clock)
    peers = {name: each.peer for name, each in servers.items()}
    joined = subscribed(known, peers, clock, settings.public_url)
    failures = Failures(
        AccessService(open_unit_of_work=open_unit_of_work, identities=identities), clock
    )
    following = Following(identities=identities, clock=clock, plans=joined.plans)
    intake = Intake(
        open_unit_of_work=open_unit_of_work,
        clock=clock,
        identities=identities,
        readers=readers(known),
        following=following,
        follow_up=lambda each: MessageKind.CODE_NOTE if coder.takes(each) else None,
    )
    return Parts(
        open_unit_of_work=open_unit_of_work,
        clock=clock,
        identities=identities,
        lease=timedelta(seconds=settings.lease_seconds),
        intake=intake,
        predictions=PredictionService(
            open_unit_of_work=open_unit_of_work,
            clock=clock,
            identities=identities,
            models=models(settings, watch),
            is_first_model_trusted=settings.is_first_model_trusted,
        ),
        write_backs=WriteBackService(
            open_unit_of_work=open_unit_of_work,
            clock=clock,
            identities=identities,
            ehr=NotedGateway(FhirGateway(servers), failures),
        ),
        subscriptions=SubscriptionService(
            open_unit_of_work=open_unit_of_work,
            clock=clock,
            identities=identities,
            following=following,
            receive=intake.receive,
            source=NotedSource(joined.source, failures),
            server=joined.server,
        ),
        notes=NoteService(
            open_unit_of_work=open_unit_of_work, clock=clock, identities=identities, coder=coder
        ),
        announcing=AnnouncingService(
            open_unit_of_work=open_unit_of_work,
            clock=clock,
            identities=identities,
            receivers=receivers(known, clock),
        ),
        audit=AuditService(open_unit_of_work=open_unit_of_work, clock=clock),
        ledger=keys.ledger(settings, open_unit_of_work, clock),
        shedding=load.shedding(settings, open_unit_of_work),
        open_doorbell=lambda: open_doorbell(database_url),
        operating=Operating(engine),
        watch=watch or Unwatched(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """What `clinical worker` runs with; `open_parts` is for each process that works."""

    broker: Broker
    concurrency: int
    open_parts: Callable[[], Parts]
    tallies: TallyPipe
    metrics: WorkerMetrics
    served: Served | None  # where metrics and health are told, if anywhere
    limits: HealthLimits
    stop_seconds: float
    polled: Callable[[Parts], Mapping[str, PulledSite]] = lambda _: {}


@contextmanager
def process(*, concurrency: int | None = None) -> Iterator[WorkerProcess]:
    """A worker process by the settings."""
    telemetry.configure("worker")
    settings = Settings()
    port = settings.worker_metrics_port
    served = Served(settings.worker_metrics_host, port) if port else None
    tallies = TallyPipe()
    with database_url(settings) as url:
        yield WorkerProcess(
            broker=broker(settings),
            concurrency=concurrency or settings.worker_concurrency,
            open_parts=lambda: open_parts(settings, url, tallies),
            tallies=tallies,
            metrics=WorkerMetrics(),
            served=served,
            limits=health_limits(settings),
            stop_seconds=settings.worker_stop_seconds,
            polled=lambda parts: polled_sites(settings, parts.clock, parts.identities),
        )
