"""The model process: serves the forecast stage with mosec until it is told to stop.

It knows mosec's settings and signals. It does not read the environment: mosec would, from
`MOSEC_…` variables and from the command line, so it is given every setting explicitly.
"""

import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx

from adapters.model_server import wire
from adapters.model_server.options import ROUTES, ServeOptions
from clinical.errors import ClinicalError, OperationalError

if TYPE_CHECKING:
    from adapters.model_server.stage import ForecastStage

__all__ = [
    "AddressInUseError",
    "ModelProcessFailedError",
    "ServeOptions",
    "is_ready",
    "serve",
    "serve_stage",
]


class AddressInUseError(OperationalError):
    """Something else listens where the model process was to serve."""

    code = "model.address_in_use"


class ModelProcessFailedError(ClinicalError):
    """The model could not be loaded, or ended without being told to."""

    code = "model.process_failed"


def serve(options: ServeOptions) -> None:
    """Serve until SIGTERM or SIGINT; no process is left behind. Call it from the main thread.

    The address is listened on only when the model is loaded and has answered a first question.

    Raises:
        AddressInUseError, ModelProcessFailedError
    """
    with _command_line(options):
        # mosec reads the command line also when it is imported.
        from adapters.model_server.stage import ForecastStage  # noqa: PLC0415

        serve_stage(ForecastStage, options)


def serve_stage(stage: "type[ForecastStage]", options: ServeOptions) -> None:
    """As `serve`, with a stage of the caller's."""
    _require_free(options.host, options.port)
    with _command_line(options), _signals_seen() as seen:
        import mosec  # noqa: PLC0415

        from adapters.model_server.stage import configured  # noqa: PLC0415

        server = mosec.Server()  # type: ignore[no-untyped-call]
        server.append_worker(
            configured(stage, options),
            max_batch_size=options.max_batch,
            max_wait_time=options.max_batch_wait_ms,
            timeout=options.timeout_ms / 1000,
            route=list(ROUTES),
        )
        server.run()  # type: ignore[no-untyped-call]
        if not seen():
            raise ModelProcessFailedError("the model process ended without being told to")


def is_ready(base_url: str, *, timeout_seconds: float = 1.0) -> bool:
    """Whether a warm model answers there now; any failure to answer is "not yet"."""
    try:
        response = httpx.post(
            f"{base_url.rstrip('/')}/fingerprint",
            content=wire.encode_fingerprint_question(),
            timeout=timeout_seconds,
            trust_env=False,
        )
        return isinstance(wire.decode_answer(response.content), wire.FingerprintAnswer)
    except (httpx.HTTPError, ClinicalError):
        return False


def _require_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AddressInUseError("the address of the model process is taken") from error


@contextlib.contextmanager
def _command_line(options: ServeOptions) -> Iterator[None]:
    """Give mosec its settings where it looks for them; the processes it spawns inherit it."""
    before = sys.argv
    sys.argv = [
        before[0],
        f"--address={options.host}",
        f"--port={options.port}",
        f"--timeout={options.timeout_ms}",
        f"--capacity={options.queue_capacity}",
        f"--max-request-size={wire.MAX_QUESTION_BYTES}",
        "--namespace=clinical_model",
        f"--log-level={'info' if options.is_verbose else 'error'}",
    ]
    try:
        yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def _signals_seen() -> Iterator["_Seen"]:
    """Remembers whether a signal to stop came: mosec returns alike when told to stop and on failure."""
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield _Seen(reader)
        finally:
            signal.set_wakeup_fd(before)


class _Seen:
    def __init__(self, reader: socket.socket) -> None:
        self._reader = reader

    def __call__(self) -> bool:
        try:
            numbers = self._reader.recv(4096)
        except BlockingIOError:
            return False
        return bool({signal.SIGTERM, signal.SIGINT} & set(numbers))
