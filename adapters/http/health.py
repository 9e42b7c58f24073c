"""Whether the process lives, whether it can work, how much it did, and which model answers."""

import dataclasses
from typing import Literal

from fastapi import APIRouter, Request, Response, status

from adapters.http.dependencies import Given, WebDependencies
from adapters.http.schemas import Able, Live, Model, Part, Ready, problems
from adapters.http.sessions import SignedInClinician
from adapters.operations import health
from adapters.operations.figures import OperatingFigures
from adapters.operations.health import PartHealth
from adapters.telemetry import error_fields, logger
from clinical.errors import ClinicalError

_log = logger("clinical.http")

routes = APIRouter(tags=["health"])


@routes.get("/health/live")
def live() -> Live:
    """The process answers."""
    return Live(status="live")


@routes.get("/health/ready", responses={503: {"model": Ready}})
def ready(given: Given, response: Response) -> Ready:
    """Whether work can be done now, part by part, and what can be done with the parts that are well.

    503 only where nothing can be taken in (the database is away, or its schema is another): without
    worker, broker or model, deliveries are still stored and the rest is owed: `degraded`, and 200.
    """
    parts, figures = _stored(given)
    parts["model"], digest = _model(given)
    parts["disk"] = health.disk(given.free_disk(), given.health_limits)
    can = health.capabilities(parts)
    state: Literal["ready", "degraded", "unavailable"]
    state = "ready" if all(part.is_well for part in parts.values()) else "degraded"
    if not can.take_deliveries:
        state = "unavailable"
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    told = {name: Part(is_well=part.is_well, detail=part.detail) for name, part in parts.items()}
    return Ready(
        status=state,
        can=Able(**dataclasses.asdict(can)),
        **told,
        model_digest=digest,
        outbox_backlog=figures and sum(each.num for each in figures.owed),
    )


def _stored(given: WebDependencies) -> tuple[dict[str, PartHealth], OperatingFigures | None]:
    """The parts that the database knows of; where it does not answer, nothing is known of them."""
    try:
        held, newest = given.operating.schema()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it does not answer
        _log.warning("the database does not answer", **error_fields(error))
        return _without("database", "does not answer"), None
    database = PartHealth(is_well=True, detail="answers")
    revision = health.revision(held, newest)
    try:
        figures = given.operating.figures()
    except Exception as error:  # noqa: BLE001 - of another schema nothing else is expected
        _log.warning("the database does not say how it goes", **error_fields(error))
        return _without("revision", revision.detail) | {"database": database}, None
    workers = health.workers(figures, given.health_limits)
    return {"database": database, "revision": revision, **workers}, figures


def _without(part: str, detail: str) -> dict[str, PartHealth]:
    unknown = PartHealth(is_well=False, detail="not known")
    names = ("database", "revision", "worker", "broker", "ledger")
    return dict.fromkeys(names, unknown) | {part: PartHealth(is_well=False, detail=detail)}


def _model(given: WebDependencies) -> tuple[PartHealth, str | None]:
    try:
        fingerprint = given.model_fingerprint()
    except ClinicalError as error:
        return PartHealth(is_well=False, detail=error.code), None
    detail = f"{fingerprint.name} {fingerprint.version}"
    return PartHealth(is_well=True, detail=detail), fingerprint.manifest_digest


@routes.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Counts in the text format of Prometheus; no patient data is in any of them."""
    content, media_type = request.app.state.metrics.exposition()
    return Response(content, media_type=media_type)


@routes.get("/v1/models/current", responses=problems(401, 403, 503))
def current_model(_session: SignedInClinician, given: Given) -> Model:
    """The model that answers now."""
    fingerprint = given.model_fingerprint()
    return Model(
        name=fingerprint.name,
        version=fingerprint.version,
        manifest_digest=fingerprint.manifest_digest,
        vocabulary_digest=fingerprint.vocabulary_digest,
    )
