"""kombu's filesystem transport, with messages that appear in the folder whole.

The transport as shipped opens a file under its final name and then writes it, for messages and for
the table of bindings alike: a reader polling at that instant takes an empty one and dies of it. Here
a message is put and taken by one rename inside the folder, and bindings are held in memory, because
every process declares the queue that it uses. It knows nothing of what a message means.
"""

import json
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem, virtual
from typing_extensions import override

SCHEME = "folder"
URL = f"{SCHEME}://"
_LONGEST_DRAIN_SECONDS = 0.2


def options(folder: Path) -> dict[str, Any]:
    """Transport options for messages kept in `folder`, which is made if missing."""
    for name in ("messages", "taken"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(folder / "messages"),
        "data_folder_out": str(folder / "messages"),
        "processed_folder": str(folder / "taken"),
        "polling_interval": 0.02,
    }


class Channel(filesystem.Channel):
    """A channel whose puts and gets are atomic."""

    @override
    def get_table(self, exchange: str) -> Any:
        return virtual.Channel.get_table(self, exchange)  # type: ignore[no-untyped-call]

    @override
    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        pass

    @override
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]  # the bases differ
        # Zero-padded wall-clock nanoseconds: the names sort in the order of publishing.
        name = f"{time.time_ns():020d}_{uuid.uuid4().hex}.{queue}.msg"
        part = Path(self.processed_folder) / f"{name}.part"
        part.write_text(json.dumps(payload), encoding="utf-8")
        part.rename(Path(self.data_folder_out) / name)

    @override
    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for name in sorted(self._names(queue)):
            taken = Path(self.processed_folder) / name
            try:
                (Path(self.data_folder_in) / name).rename(taken)
            except FileNotFoundError:  # another worker was faster
                continue
            payload = json.loads(taken.read_text(encoding="utf-8"))
            taken.unlink()
            # Where kombu notes it nobody looks: whoever had this before gave it back, or is gone.
            is_again = payload.get("redelivered", False)
            payload["properties"]["delivery_info"]["redelivered"] = is_again
            return payload
        raise Empty

    @override
    def _size(self, queue: str) -> int:
        return len(self._names(queue))

    def _names(self, queue: str) -> list[str]:
        names = (path.name for path in Path(self.data_folder_in).iterdir())
        return [name for name in names if name.partition(".")[2] == f"{queue}.msg"]


class Transport(filesystem.Transport):
    """The transport behind `folder://`."""

    Channel = Channel

    @override
    def drain_events(self, connection: Any, timeout: Any = None, **kwargs: Any) -> None:
        # A worker only looks between two of these whether it was told to stop.
        longest = min(timeout or _LONGEST_DRAIN_SECONDS, _LONGEST_DRAIN_SECONDS)
        super().drain_events(connection, longest, **kwargs)  # type: ignore[no-untyped-call]


TRANSPORT_ALIASES.setdefault(SCHEME, f"{__name__}:Transport")
