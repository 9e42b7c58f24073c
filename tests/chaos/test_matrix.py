"""The table has a row for each fault, and its parts do what they are called."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.matrix import ROWS, SHORT
from tests.chaos.proxy import Mood, Proxy
from tests.chaos.scene import Result
from tests.chaos.table import write
from tests.stack import free_ports


def test_there_is_a_row_for_each_fault() -> None:
    assert {f"K{number}" for number in range(1, 19)} <= set(ROWS)
    assert set(SHORT) <= set(ROWS)


def test_the_table_is_written_with_what_was_missed(tmp_path: Path) -> None:
    met = Result(row="K2", title="worker killed", seed=1, recoveries=[1.0, 3.0], bar_seconds=10)
    missed = Result(row="K4", title="PostgreSQL killed", seed=1, missed=["lost: one"], lost=1)
    late = Result(row="K6", title="RabbitMQ killed", seed=1, recoveries=[31.0], bar_seconds=30)
    write([met, missed, late], tmp_path, {"seed": 1})
    rows = json.loads((tmp_path / "chaos.json").read_text())["rows"]
    assert [(row["is_met"], row["p50"], row["max"]) for row in rows] == [
        (True, 2.0, 3.0),
        (False, None, None),
        (False, 31.0, 31.0),
    ]
    assert (late.is_kept, missed.is_kept) == (True, False)
    assert "K4: MISSED: lost: one" in (tmp_path / "chaos.txt").read_text()
    assert (tmp_path / "recovery.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says back what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                peer = server.accept()[0]
                with peer:
                    while piece := peer.recv(100):
                        peer.sendall(piece)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def test_a_link_can_stall_and_go_on_and_be_cut(echo: int) -> None:
    with (
        Proxy(echo, free_ports(1)[0]) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client,
    ):
        client.sendall(b"fair")
        assert client.recv(10) == b"fair"
        proxy.become(Mood.STALLED)
        client.sendall(b"later")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(10)
        client.settimeout(10)
        proxy.become(Mood.FAIR)
        assert client.recv(10) == b"later"
        proxy.become(Mood.RUDE)
        with pytest.raises(ConnectionResetError):
            client.recv(10)
