"""What `clinical health` asks of each process, and of what it needs."""

import httpx

from adapters.assembly.database import database_url
from adapters.assembly.health import health_limits
from adapters.db.engine import create_engine
from adapters.db.operating import Operating
from adapters.model_server.worker import is_ready
from adapters.operations import health
from adapters.operations.health import PartHealth
from adapters.settings import Settings

_TIMEOUT_SECONDS = 10.0


def of_web() -> dict[str, PartHealth]:
    """What the web process says of itself."""
    settings = Settings()
    url = f"http://{settings.web_host}:{settings.web_port}/health/ready"
    try:
        answer = httpx.get(url, timeout=_TIMEOUT_SECONDS, trust_env=False)
    except httpx.HTTPError:
        return {"web": PartHealth(is_well=False, detail="does not answer")}
    said = answer.json() if answer.is_success else {"status": f"answers {answer.status_code}"}
    return {"web": PartHealth(is_well=answer.is_success, detail=said["status"])}


def of_worker() -> dict[str, PartHealth]:
    """What the workers that were heard lately said: of themselves, their broker, and the ledger.

    Raises:
        StorageUnavailableError
    """
    settings = Settings()
    with database_url(settings) as url:
        engine = create_engine(url, pool_size=1)
        try:
            return health.workers(Operating(engine).figures(), health_limits(settings))
        finally:
            engine.dispose()


def of_model() -> dict[str, PartHealth]:
    """Whether a warm model answers."""
    settings = Settings()
    url = f"http://{settings.model_host}:{settings.model_port}"
    is_well = is_ready(url, timeout_seconds=_TIMEOUT_SECONDS)
    return {
        "model": PartHealth(is_well=is_well, detail="answers" if is_well else "does not answer")
    }
