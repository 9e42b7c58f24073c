"""The web app: routes, what surrounds them, and how errors are told; nothing else."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

from adapters.http import (
    audit,
    cds_hooks,
    facade,
    health,
    keys,
    ledger,
    notices,
    plans,
    reviews,
    sessions,
    similar,
    subscriptions,
    webhooks,
)
from adapters.http.cds_desk import Desk
from adapters.http.dependencies import WebDependencies
from adapters.http.errors import render_errors
from adapters.http.gate import Gate
from adapters.http.looks import RecentLooks
from adapters.http.metrics import WebMetrics
from adapters.http.middleware import Surroundings
from adapters.http.openapi import describe
from adapters.http.refusals import Refusals, told_meanwhile

_PAGE = Path(__file__).parent / "static"


def create_app(deps: WebDependencies) -> FastAPI:
    """The web app over these dependencies; loads no model and talks to no broker."""
    # The interactive documentation pages of the framework load scripts from elsewhere.
    refusals = Refusals()

    def lifespan(_: FastAPI) -> AbstractAsyncContextManager[None]:
        return told_meanwhile(refusals, deps.access.note_refused, deps.clock.now)

    app = FastAPI(
        title="clinical-jepa", version="1", docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.dependencies = deps
    app.state.metrics = WebMetrics(deps.census, deps.operating.figures, deps.registry)
    app.state.sign_ins = sessions.SignIns(deps)
    app.state.looks = RecentLooks()
    app.state.gate = Gate(deps.shedding, deps.limits.max_webhooks_at_once)
    app.state.cds_desk = Desk(deps.cds, app.state.metrics) if deps.cds else None
    for room in (
        *(cds_hooks, webhooks, subscriptions, sessions, reviews, notices, similar, plans),
        *(audit, ledger, keys, health, facade),
    ):
        app.include_router(room.routes)
    app.mount("/static", StaticFiles(directory=_PAGE))
    app.add_api_route("/", _page, include_in_schema=False)
    render_errors(app)
    describe(app)
    app.add_middleware(
        Surroundings, identities=deps.identities, metrics=app.state.metrics, refusals=refusals
    )
    return app


def _page() -> Response:
    return FileResponse(_PAGE / "review" / "index.html")
