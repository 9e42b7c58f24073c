"""What an audit and a replay work with: the stored site, and a model process for as long as they run.

Wiring only. Where a model already serves at the place in the settings it is used, unless a checkpoint
is named; otherwise one is started and stopped again. Where none can be started it goes on without:
whoever asks is then told that no model answers.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from adapters import telemetry
from adapters.assembly import guard, load
from adapters.assembly.child import Child, wait_until_ready
from adapters.assembly.database import database_url
from adapters.assembly.embedded import free_port
from adapters.assembly.worker import models
from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.engine import create_engine
from adapters.db.migrate import upgrade
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.model_server.worker import is_ready
from adapters.settings import Settings, environment
from clinical.errors import ClinicalError
from clinical.services.audit import AuditService
from clinical.services.ports import Clock, Identities, OpenUnitOfWork
from clinical.services.replay import ReplayService
from clinical.services.shedding import SheddingService

_READY_SECONDS = 180.0
_GRACE_SECONDS = 15.0
_LOG = telemetry.logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditParts:
    """The stored site, its log, and answers that can be asked for again."""

    engine: Engine
    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities
    log: AuditService
    replays: ReplayService
    shedding: SheddingService


@contextmanager
def auditing(
    model_command: Sequence[str], *, data_dir: Path | None = None, checkpoint: Path | None = None
) -> Iterator[AuditParts]:
    """The parts, for as long as the block runs; `model_command` starts a model process.

    With `checkpoint` the model of that folder is asked, whichever serves.

    Raises:
        StorageUnavailableError
        ChildDiedError, NotReadyError: the model of `checkpoint` does not serve.
    """
    telemetry.configure("audit")
    settings = Settings()
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    if checkpoint is not None:
        elsewhere = {"model_checkpoint": checkpoint.absolute(), "model_port": 0}
        settings = settings.model_copy(update=elsewhere)
    with ExitStack() as stack:
        url = stack.enter_context(database_url(settings))
        if settings.database_url is None:
            upgrade(url)
        is_named = checkpoint is not None
        settings = stack.enter_context(_model(settings, model_command, must_serve=is_named))
        engine = create_engine(url, pool_size=2)
        stack.callback(engine.dispose)
        server = models(settings)
        stack.callback(server.close)
        clock, identities = SystemClock(), TimeOrderedIdentities()
        open_unit_of_work = unit_of_work_factory(engine)
        yield AuditParts(
            engine=engine,
            open_unit_of_work=open_unit_of_work,
            clock=clock,
            identities=identities,
            log=AuditService(open_unit_of_work=open_unit_of_work, clock=clock),
            shedding=load.shedding(settings, open_unit_of_work),
            replays=ReplayService(
                open_unit_of_work=open_unit_of_work, models=server, planner=server
            ),
        )


@contextmanager
def _model(settings: Settings, command: Sequence[str], *, must_serve: bool) -> Iterator[Settings]:
    """The settings with the place where a model answers, if one serves or could be started."""
    if settings.model_port and is_ready(_url(settings)):
        yield settings
        return
    with ExitStack() as stack:
        try:
            settings = _started(settings, command, stack)
        except ClinicalError as error:
            if must_serve:
                raise
            _LOG.warning("no model can be asked again", **telemetry.error_fields(error))
        yield settings


def _started(settings: Settings, command: Sequence[str], stack: ExitStack) -> Settings:
    port = free_port(settings.model_host, settings.model_port, "CLINICAL_MODEL_PORT")
    placed = settings.model_copy(update={"model_port": port})
    logs = settings.data_dir.absolute() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    # Also when this process is killed outright, the model ends with it.
    watch = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-I", "-S", guard.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    stack.callback(watch.communicate)
    folder = settings.model_checkpoint
    named = {} if folder is None else {"model_checkpoint": str(folder)}
    child = Child(
        "model",
        command,
        environment=environment(model_host=placed.model_host, model_port=str(port), **named),
        log=logs / "audit-model.log",
    )
    assert watch.stdin is not None
    watch.stdin.write(f"+{child.session}\n")
    watch.stdin.flush()
    stack.callback(child.stop, _GRACE_SECONDS)
    wait_until_ready(child, lambda: is_ready(_url(placed)), _READY_SECONDS)
    return placed


def _url(settings: Settings) -> str:
    return f"http://{settings.model_host}:{settings.model_port}"
