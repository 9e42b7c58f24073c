"""The MLLP process: HL7 v2 messages in by TCP, stored raw and acknowledged; wiring only.

It understands nothing that it takes: that is the worker's. It never loads torch, and talks to no broker.
"""

import signal
import threading

from adapters import telemetry
from adapters.assembly import load
from adapters.assembly.database import database_url
from adapters.assembly.sites import sites
from adapters.clock import TimeOrderedIdentities
from adapters.db.engine import (
    LONGEST_ANSWER_TO_WEB_SECONDS,
    LONGEST_PAUSE_SECONDS,
    create_engine,
)
from adapters.db.moments import DatabaseClock
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.hl7v2.door import MessageDoor
from adapters.hl7v2.errors import NobodyMaySendError
from adapters.hl7v2.listener import Certificates, Listener, ListenerLimits
from adapters.hl7v2.senders import Senders
from adapters.operations import tracing
from adapters.settings import Settings
from clinical.services.intake import Intake

# As many messages are stored at once; further connections wait their turn.
_POOL_SIZE = 8


def open_listener(settings: Settings, url: str) -> Listener:
    """The listener of this site, over the database at `url`.

    Raises:
        NobodyMaySendError, PortTakenError, UnreadableCertificateError
        MalformedSitesFileError
    """
    senders = Senders(
        {name: site.hl7v2 for name, site in sites(settings).items() if site.hl7v2 is not None}
    )
    if senders.is_empty:
        raise NobodyMaySendError("the sites file names no HL7 v2 senders with their peers")
    engine = create_engine(
        url,
        pool_size=_POOL_SIZE,
        max_overflow=0,
        longest_pause_seconds=LONGEST_PAUSE_SECONDS,
        longest_answer_seconds=LONGEST_ANSWER_TO_WEB_SECONDS,
    )
    open_unit_of_work = unit_of_work_factory(engine)
    clock, identities = DatabaseClock(engine), TimeOrderedIdentities()
    door = MessageDoor(
        intake=Intake(
            open_unit_of_work=open_unit_of_work, clock=clock, identities=identities, readers={}
        ),
        shedding=load.shedding(settings, open_unit_of_work),
        senders=senders,
        clock=clock,
        identities=identities,
    )
    limits = ListenerLimits(
        max_bytes=settings.mllp_max_bytes,
        max_connections=settings.mllp_max_connections,
        idle_seconds=settings.mllp_idle_seconds,
    )
    tls = _certificates(settings)
    return Listener(
        (settings.mllp_host, settings.mllp_port), door, limits, tls.context() if tls else None
    )


def _certificates(settings: Settings) -> Certificates | None:
    if settings.mllp_tls_certificate is None or settings.mllp_tls_key is None:
        return None
    return Certificates(
        certificate=settings.mllp_tls_certificate,
        key=settings.mllp_tls_key,
        clients=settings.mllp_tls_clients,
    )


def _stop_at_signals(listener: Listener) -> None:
    def stop(*_: object) -> None:
        # `stop` waits for the loop that this very thread runs.
        threading.Thread(target=listener.stop, name="stop").start()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)


def run() -> None:
    """Serve until told to stop; what was received by then is answered first.

    Raises:
        StorageUnavailableError
    """
    telemetry.configure("mllp")
    settings = Settings()
    tracing.configure("mllp", settings.traces_endpoint)
    with database_url(settings) as url:
        listener = open_listener(settings, url)
        _stop_at_signals(listener)
        telemetry.logger(__name__).info("mllp.listening", port=listener.port)
        listener.serve_forever()
        listener.server_close()  # once every message that had come is answered
        tracing.flush()
