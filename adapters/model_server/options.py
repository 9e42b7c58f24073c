"""How the model process is to serve; values only, given by the composition root."""

from dataclasses import dataclass
from pathlib import Path

ROUTES = ("/forecast", "/plan", "/plannable", "/fingerprint")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Which checkpoint, where, on what device, and how much may wait.

    A batch is closed when it holds `max_batch` questions or `max_batch_wait_ms` after its first.
    A question that has waited `timeout_ms` is refused, and so is one that finds
    `queue_capacity` others before it.
    """

    checkpoint: Path
    host: str
    port: int
    device: str = "cpu"
    num_threads: int = 1
    max_batch: int = 32
    max_batch_wait_ms: int = 10
    timeout_ms: int = 10_000
    queue_capacity: int = 256
    is_verbose: bool = False
