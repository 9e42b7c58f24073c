"""The model process: the one that loads torch. mosec serves it by the settings."""

from pathlib import Path

from adapters import telemetry
from adapters.model_server.worker import ServeOptions, serve
from adapters.settings import Settings


def options(settings: Settings, shipped_checkpoint: Path) -> ServeOptions:
    """How to serve, by the settings; the shipped checkpoint unless they name another."""
    return ServeOptions(
        checkpoint=(settings.model_checkpoint or shipped_checkpoint).absolute(),
        host=settings.model_host,
        port=settings.model_port,
        device=settings.model_device,
        num_threads=settings.model_threads,
        max_batch=settings.model_max_batch,
        max_batch_wait_ms=settings.model_max_batch_wait_ms,
        timeout_ms=settings.model_timeout_ms,
        queue_capacity=settings.model_queue_capacity,
    )


def run(shipped_checkpoint: Path) -> None:
    """Serve until told to stop.

    Raises:
        AddressInUseError, ModelProcessFailedError
    """
    telemetry.configure("model")
    serve(options(Settings(), shipped_checkpoint))
