"""Which parts are well, and what can be done with those that are.

Knows the limits. Does not know who asks, and asks nobody: it judges what was found.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.operations.figures import OperatingFigures

WORKER_SILENT = "worker.silent"
BROKER_UNREACHABLE = "broker.unreachable"
MERGE_DELAY = "ledger.merge_delay"
DISK_FULL = "disk.full"
SCHEMA_BEHIND = "schema.behind"
# Workers say every few seconds that they live.
WORKER_SILENT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLimits:
    """From when on a part is not well."""

    merge_delay_seconds: float = 300.0
    min_free_disk_bytes: int = 256 * 1024 * 1024
    worker_silent_seconds: float = WORKER_SILENT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class PartHealth:
    """One part: whether it is well, and how it is, in our words and codes."""

    is_well: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What can be done now."""

    take_deliveries: bool
    understand_deliveries: bool
    predict: bool
    review: bool
    prove: bool


def capabilities(parts: Mapping[str, PartHealth]) -> Capabilities:
    """What the parts allow: deliveries are taken in, and reviews signed, by database and web alone."""
    stores = parts["database"].is_well and parts["revision"].is_well
    works = stores and parts["worker"].is_well and parts["broker"].is_well
    return Capabilities(
        take_deliveries=stores,
        understand_deliveries=works,
        predict=works and parts["model"].is_well,
        review=stores,
        prove=stores and parts["ledger"].is_well,
    )


def revision(held: str | None, newest: str | None) -> PartHealth:
    """Whether the database has the schema of this code."""
    if held == newest:
        return PartHealth(is_well=True, detail=f"{held}")
    return PartHealth(is_well=False, detail=f"{SCHEMA_BEHIND}: {held}, not {newest}")


def disk(free_bytes: int, limits: HealthLimits) -> PartHealth:
    """Whether the disk of the data folder has room."""
    free = f"{free_bytes // (1024 * 1024)} MiB free"
    if free_bytes >= limits.min_free_disk_bytes:
        return PartHealth(is_well=True, detail=free)
    return PartHealth(is_well=False, detail=f"{DISK_FULL}: {free}")


def workers(figures: OperatingFigures, limits: HealthLimits) -> dict[str, PartHealth]:
    """Worker, broker and ledger, as those workers see them who were heard lately."""
    fresh = [
        each for each in figures.heartbeats if each.seconds_ago <= limits.worker_silent_seconds
    ]
    if not fresh:
        silent = PartHealth(is_well=False, detail=WORKER_SILENT)
        return {"worker": silent, "broker": silent, "ledger": silent}
    troubles = [each.relay_trouble for each in fresh]
    # One relay that publishes is enough.
    is_reached = "" in troubles
    num_unsequenced = max(each.num_unsequenced for each in fresh)
    oldest = max(each.oldest_unsequenced_seconds for each in fresh)
    is_late = oldest > limits.merge_delay_seconds
    waits = f"{num_unsequenced} entries without a leaf, the oldest {oldest:.0f} s old"
    return {
        "worker": PartHealth(is_well=True, detail=f"{len(fresh)} at work"),
        "broker": PartHealth(
            is_well=is_reached,
            detail="reached" if is_reached else f"{BROKER_UNREACHABLE}: {troubles[0]}",
        ),
        "ledger": PartHealth(
            is_well=not is_late, detail=f"{MERGE_DELAY}: {waits}" if is_late else waits
        ),
    }
