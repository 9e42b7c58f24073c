"""The web process: the page, its API and the doors, joined with storage and the model's client.

Knows which class implements which port. It never loads torch, and talks to no broker.
"""

import signal
import sys
from collections.abc import Mapping
from functools import partial

import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from adapters import telemetry
from adapters.assembly import exposing, keys, load, nabla, proofs
from adapters.assembly.cds import cds_door
from adapters.assembly.database import database_url
from adapters.assembly.health import free_disk, health_limits
from adapters.assembly.receivers import announced
from adapters.assembly.sites import ensure_keys, key_ring, sites, writing_back
from adapters.care_plans.reader import read_library
from adapters.clock import TimeOrderedIdentities
from adapters.db.clinicians import Clinicians
from adapters.db.engine import (
    LONGEST_ANSWER_TO_WEB_SECONDS,
    LONGEST_PAUSE_SECONDS,
    create_engine,
)
from adapters.db.moments import DatabaseClock
from adapters.db.operating import Operating
from adapters.db.summaries import Summaries
from adapters.db.tokens import AccessTokens
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.http.app import create_app
from adapters.http.cds_desk import NUM_CONNECTIONS as NUM_CDS_CONNECTIONS
from adapters.http.dependencies import Limits, VerifySignature, WebDependencies
from adapters.http.gate import NUM_THREADS
from adapters.http.signatures import StandardWebhooks
from adapters.model_server.client import HttpModelServer
from adapters.nabla.connect import CALLBACK_TYPES, parse_callback
from adapters.nabla.core_events import parse_event
from adapters.operations import tracing
from adapters.operations.metrics import ModelMetrics
from adapters.settings import Settings
from adapters.sites.site import Site
from clinical.services.access import AccessService
from clinical.services.audit import AuditService
from clinical.services.disclosure import DisclosureService
from clinical.services.intake import Intake
from clinical.services.planning import PlanningService
from clinical.services.recall import RecallService
from clinical.services.review import ReviewService
from clinical.services.similar import SimilarService

# Whether the model answers is asked while somebody waits for the page.
_MODEL_TIMEOUT_SECONDS = 2.0
# Nobody waits that long for a card; what comes later is shown the next time.
_COMPARE_TIMEOUT_SECONDS = 5.0
# Of all connections, idle ones too; deliveries are held far below it (adapters/http/gate.py), so
# that it is not they who keep a clinician out.
_MAX_CONNECTIONS = 1000
_STOP_SECONDS = 8


def create(settings: Settings, url: str) -> FastAPI:
    """The app of this site, over the database at `url`."""
    connected = partial(
        create_engine,
        url,
        longest_pause_seconds=LONGEST_PAUSE_SECONDS,
        longest_answer_seconds=LONGEST_ANSWER_TO_WEB_SECONDS,
    )
    engine = connected()
    # Of all processes alike: leases of reviews, and what was received when, must not hang on this machine.
    clock, identities = DatabaseClock(engine), TimeOrderedIdentities()
    known = sites(settings)
    told = announced(known)
    open_unit_of_work = unit_of_work_factory(engine, announced=told)
    # Connections of their own: however many deliveries wait, a clinician does not queue behind them.
    for_webhooks = unit_of_work_factory(
        connected(pool_size=NUM_THREADS, max_overflow=0), announced=told
    )
    summaries = Summaries(engine)
    model_url = f"http://{settings.model_host}:{settings.model_port}"
    models = HttpModelServer(model_url, _MODEL_TIMEOUT_SECONDS)
    operating, registry = Operating(engine), CollectorRegistry()
    watch = ModelMetrics(registry)
    for_cards = connected(pool_size=NUM_CDS_CONNECTIONS, max_overflow=0)
    own_keys = key_ring(settings, clock)
    ensure_keys(known, own_keys)
    return create_app(
        WebDependencies(
            open_unit_of_work=open_unit_of_work,
            # Deliveries are only received here: nobody in this process can understand them.
            intake=Intake(
                open_unit_of_work=for_webhooks, clock=clock, identities=identities, readers={}
            ),
            shedding=load.shedding(settings, for_webhooks),
            reviews=ReviewService(
                open_unit_of_work=open_unit_of_work,
                clock=clock,
                identities=identities,
                writes_back=writing_back(known),
            ),
            similar=SimilarService(open_unit_of_work=open_unit_of_work),
            planning=PlanningService(
                open_unit_of_work=open_unit_of_work,
                clock=clock,
                identities=identities,
                models=HttpModelServer(model_url, settings.model_timeout_ms / 1000, watch=watch),
                library=read_library(),
                is_first_model_trusted=settings.is_first_model_trusted,
            ),
            recalls=RecallService(
                open_unit_of_work=open_unit_of_work, clock=clock, identities=identities
            ),
            access=AccessService(open_unit_of_work=open_unit_of_work, identities=identities),
            audit=AuditService(open_unit_of_work=open_unit_of_work, clock=clock),
            ledger=keys.ledger(settings, open_unit_of_work, clock),
            clock=clock,
            identities=identities,
            clinicians=Clinicians(engine),
            bearer=AccessTokens(engine, identities).bearer,
            disclosures=DisclosureService(
                open_unit_of_work=open_unit_of_work, identities=identities
            ),
            shapes=exposing.shapes(settings, clock),
            public_url=exposing.public_url(settings),
            session_key=keys.session_key(settings),
            fhir_verifiers=_standard_webhooks(known),
            notification_verifiers=proofs.verifiers(known, engine, clock),
            nabla_verifiers=nabla.connect_verifiers(known, clock),
            nabla_core_verifiers=nabla.core_verifiers(known, clock),
            parse_core_event=parse_event,
            parse_callback=parse_callback,
            callback_types=CALLBACK_TYPES,
            static_facts=summaries.static_facts,
            census=summaries.backlog,
            model_fingerprint=models.fingerprint,
            operating=operating,
            free_disk=lambda: free_disk(settings.data_dir),
            limits=Limits(
                max_webhook_bytes=settings.max_webhook_bytes,
                max_webhooks_at_once=settings.max_webhooks_at_once,
            ),
            cds=cds_door(
                settings,
                known,
                for_cards,
                clock,
                HttpModelServer(model_url, _COMPARE_TIMEOUT_SECONDS, watch=watch),
            ),
            health_limits=health_limits(settings),
            public_keys=own_keys.public,
            registry=registry,
        )
    )


def _standard_webhooks(known: Mapping[str, Site]) -> Mapping[str, VerifySignature]:
    return {
        name: StandardWebhooks([secret.value for secret in site.webhook_secrets])
        for name, site in known.items()
        if site.webhook_secrets
    }


def run() -> None:
    """Serve until told to stop.

    Raises:
        StorageUnavailableError
    """
    telemetry.configure("web")
    settings = Settings()
    # uvicorn stops in good order and then raises the signal again: leave, instead of being killed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    tracing.configure("web", settings.traces_endpoint)
    with database_url(settings) as url:
        try:
            uvicorn.run(
                create(settings, url),
                host=settings.web_host,
                port=settings.web_port,
                log_config=None,  # lines go through telemetry's allow-list
                access_log=False,  # paths may carry the ids of EHR records
                server_header=False,
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        finally:
            tracing.flush()
