"""The socket: connections capped, each read in order by a thread of its own, optionally by TLS.

Knows addresses, timeouts and framing. What becomes of a message is the door's.
"""

import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from typing_extensions import override

from adapters import telemetry
from adapters.hl7v2.door import MessageDoor
from adapters.hl7v2.errors import PortTakenError, UnreadableCertificateError
from adapters.hl7v2.framing import Framer, framed

_READ_BYTES = 64 * 1024
_LOOK_UP_SECONDS = 0.5  # how soon a quiet connection sees that the process is to stop
_TALK_SECONDS = 10.0  # for a handshake, and to take an answer
_log = telemetry.logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerLimits:
    """What one connection, and all of them, may take."""

    max_bytes: int
    max_connections: int
    idle_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Ours, its key, and those that clients must be signed by (none: clients need none)."""

    certificate: Path
    key: Path
    clients: Path | None = None

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer; raises UnreadableCertificateError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.clients is not None:
                context.load_verify_locations(self.clients)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise UnreadableCertificateError(
                "the certificate, its key or those of clients cannot be read"
            ) from error
        return context


class Listener(ThreadingTCPServer):
    """Listens from its making on; `serve_forever` answers until `stop`, `server_close` waits for the last answer."""

    allow_reuse_address = True
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        door: MessageDoor,
        limits: ListenerLimits,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Bind.

        Raises:
            PortTakenError
        """
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.door = door
        self.limits = limits
        self.tls = tls
        self.is_stopping = False
        self._free = threading.BoundedSemaphore(limits.max_connections)
        try:
            super().__init__(address, _Connection)
        except OSError as error:
            raise PortTakenError(
                f"port {address[1]} of {address[0]} cannot be had; choose another by CLINICAL_MLLP_PORT"
            ) from error

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self.server_address[1]
        return port

    def stop(self) -> None:
        """Take no more; not to be called from the thread that serves."""
        self.is_stopping = True
        self.shutdown()

    @override
    def verify_request(self, request: Any, client_address: Any) -> bool:
        """A stranger, or one too many, is hung up on before anything is read."""
        if not self.door.senders.may_connect(client_address[0]):
            _log.warning("hl7v2.stranger_turned_away")
            return False
        if not self._free.acquire(blocking=False):
            _log.warning("hl7v2.too_many_connections")
            return False
        return True

    @override
    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is the sender's to make again; told without its address."""
        _log.warning("hl7v2.connection_broke", exc_info=True)


class _Connection(StreamRequestHandler):
    """One connection, from its first byte to its last answer."""

    server: Listener

    @override
    def setup(self) -> None:
        self.request.settimeout(_TALK_SECONDS)
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    @override
    def handle(self) -> None:
        framer = Framer(self.server.limits.max_bytes)
        heard_at = time.monotonic()
        while True:
            try:
                self.connection.settimeout(_LOOK_UP_SECONDS)
                piece = self.connection.recv(_READ_BYTES)
            except TimeoutError:
                if self.server.is_stopping or self._is_idle(heard_at):
                    return
                continue
            if not piece:
                return
            heard_at = time.monotonic()
            for frame in framer.add(piece):
                if not self._answer(frame):
                    return
            if self.server.is_stopping and not framer.is_inside:
                return

    @override
    def finish(self) -> None:
        super().finish()
        if self.server.tls is not None:
            self.request.close()  # the server only knows the socket below it

    def _is_idle(self, heard_at: float) -> bool:
        return time.monotonic() - heard_at > self.server.limits.idle_seconds

    def _answer(self, frame: Any) -> bool:
        answer = self.server.door.take(frame, self.client_address[0])
        if answer.body:
            self.connection.settimeout(_TALK_SECONDS)
            self.connection.sendall(framed(answer.body))
        return answer.may_go_on
