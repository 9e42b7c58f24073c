"""The limits of health by the settings, and what `clinical health` asks of each process."""

import shutil
from pathlib import Path

import httpx

from adapters.assembly.database import database_url
from adapters.db.engine import create_engine
from adapters.db.operating import Operating
from adapters.model_server.worker import is_ready
from adapters.operations import health
from adapters.operations.health import HealthLimits, PartHealth
from adapters.settings import Settings

_TIMEOUT_SECONDS = 10.0


def health_limits(settings: Settings) -> HealthLimits:
    """From when on a part is not well."""
    return HealthLimits(
        merge_delay_seconds=settings.merge_delay_limit_seconds,
        min_free_disk_bytes=settings.min_free_disk_bytes,
    )


def free_disk(data_dir: Path) -> int:
    """Bytes that are free where the data folder is, or will be."""
    place = next(
        path for path in (data_dir.absolute(), *data_dir.absolute().parents) if path.exists()
    )
    return shutil.disk_usage(place).free


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
