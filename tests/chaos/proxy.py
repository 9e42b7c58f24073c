"""A TCP proxy that can be slow, silent or rude, between two processes that do not know of it."""

import asyncio
import contextlib
import socket
import struct
import threading
from enum import StrEnum
from typing import Self

_CHUNK = 65_536
_SLOW_SECONDS = 0.5


class Mood(StrEnum):
    """How the link behaves."""

    FAIR = "fair"
    SLOW = "slow"  # each piece half a second late
    SILENT = "silent"  # takes everything, passes nothing on: half-open
    RUDE = "rude"  # resets what is open and what is new
    STALLED = "stalled"  # takes connections and never reads


class Proxy:
    """Listens on a port of its own and passes on to another; `mood` may change at any time."""

    def __init__(self, target_port: int, port: int, host: str = "127.0.0.1") -> None:
        self.port, self.host = port, host
        self._target_port = target_port
        self._mood = Mood.FAIR
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        serving = asyncio.start_server(self._serve, self.host, self.port)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(10)
        return self

    def __exit__(self, *_error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        self._reset_all()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def become(self, mood: Mood) -> None:
        """From now on; becoming rude also resets what is open."""
        self._mood = mood
        if mood is Mood.RUDE:
            self._loop.call_soon_threadsafe(self._reset_all)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mood is Mood.RUDE:
            _reset(writer)
            return
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _reset(writer)
            return
        self._writers |= {writer, there[1]}
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, there[1]), self._pass(there[0], writer))
        self._writers -= {writer, there[1]}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                piece = await reader.read(_CHUNK)
                if not piece:
                    break
                while self._mood is Mood.STALLED:  # noqa: ASYNC110 - it comes from another thread
                    await asyncio.sleep(0.05)
                if self._mood is Mood.SLOW:
                    await asyncio.sleep(_SLOW_SECONDS)
                if self._mood is not Mood.SILENT:
                    writer.write(piece)
                    await writer.drain()
        finally:
            writer.close()

    def _reset_all(self) -> None:
        for writer in tuple(self._writers):
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End it with RST instead of FIN."""
    found = writer.get_extra_info("socket")
    if found is not None:
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
