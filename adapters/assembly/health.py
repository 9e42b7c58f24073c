"""The limits of health by the settings, and how much room the data folder has."""

import shutil
from pathlib import Path

from adapters.operations.health import HealthLimits
from adapters.settings import Settings


def health_limits(settings: Settings) -> HealthLimits:
    """From when on a part is not well."""
    return HealthLimits(
        merge_delay_seconds=settings.merge_delay_limit_seconds,
        min_free_disk_bytes=settings.min_free_disk_mib * 1024 * 1024,
    )


def free_disk(data_dir: Path) -> int:
    """Bytes that are free where the data folder is, or will be."""
    place = next(
        path for path in (data_dir.absolute(), *data_dir.absolute().parents) if path.exists()
    )
    return shutil.disk_usage(place).free
