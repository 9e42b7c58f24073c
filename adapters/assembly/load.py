"""How much is too much, by the settings; wiring only."""

import shutil
import time
from datetime import timedelta

from adapters.settings import Settings
from clinical.services.ports import OpenUnitOfWork
from clinical.services.shedding import LoadLimits, SheddingService

_MEBIBYTE = 2**20


def shedding(settings: Settings, open_unit_of_work: OpenUnitOfWork) -> SheddingService:
    """What this process sheds; the disk is looked at where the database is the embedded one."""
    folder = None if settings.database_url is not None else settings.data_dir.absolute()

    def free_bytes() -> int | None:
        try:
            return None if folder is None else shutil.disk_usage(folder).free
        except OSError:
            return None

    return SheddingService(
        open_unit_of_work=open_unit_of_work,
        limits=LoadLimits(
            max_backlog=settings.max_backlog,
            max_lateness=timedelta(seconds=settings.max_lateness_seconds),
            min_free_bytes=settings.min_free_disk_mib * _MEBIBYTE,
        ),
        elapsed=time.monotonic,
        free_bytes=free_bytes,
    )
