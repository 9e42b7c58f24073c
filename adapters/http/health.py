"""Whether the process lives, whether it can work, how much it did, and which model answers."""

from fastapi import APIRouter, Request, Response, status

from adapters.http.dependencies import Given, WebDependencies
from adapters.http.schemas import Live, Model, Part, Ready, problems
from adapters.http.sessions import SignedInClinician
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
    """Whether work can be done now, asked of the database and of the model process.

    Without the model, deliveries are still taken in and predictions owed: `degraded`, and still 200.
    """
    database, backlog = _database(given)
    model = _model(given)
    if not database.is_well:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return Ready(status="unavailable", database=database, model=model, outbox_backlog=None)
    return Ready(
        status="ready" if model.is_well else "degraded",
        database=database,
        model=model,
        outbox_backlog=backlog,
    )


def _database(given: WebDependencies) -> tuple[Part, int | None]:
    try:
        with given.open_unit_of_work() as uow:
            return Part(is_well=True, detail="answers"), uow.outbox.pending()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it does not answer
        _log.warning("the database does not answer", **error_fields(error))
        return Part(is_well=False, detail="does not answer"), None


def _model(given: WebDependencies) -> Part:
    try:
        fingerprint = given.model_fingerprint()
    except ClinicalError as error:
        return Part(is_well=False, detail=error.code)
    return Part(is_well=True, detail=f"{fingerprint.name} {fingerprint.version}")


@routes.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Counts in the text format of Prometheus; no patient data is in any of them."""
    content, media_type = request.app.state.metrics.exposition()
    return Response(content, media_type=media_type)


@routes.get("/v1/models/current", responses=problems(401, 503))
def current_model(_session: SignedInClinician, given: Given) -> Model:
    """The model that answers now."""
    fingerprint = given.model_fingerprint()
    return Model(
        name=fingerprint.name,
        version=fingerprint.version,
        manifest_digest=fingerprint.manifest_digest,
        vocabulary_digest=fingerprint.vocabulary_digest,
    )
