"""The server of our own: started once, found again, stopped by its starter, never left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import make_url

from adapters.db.embedded import EmbeddedPostgres
from adapters.db.errors import StorageUnavailableError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One folder for all that need no new cluster; not below pytest's own, which is closed to others."""
    with tempfile.TemporaryDirectory(prefix="clinical-embedded-") as name:
        yield Path(name)


@pytest.fixture
def new_folder() -> Iterator[Path]:
    """A folder in which no server ever ran."""
    with tempfile.TemporaryDirectory(prefix="clinical-embedded-") as name:
        yield Path(name)


def _ask(url: str, question: str) -> str:
    plain = make_url(url).set(drivername="postgresql").render_as_string()
    with psycopg.connect(plain, autocommit=True) as connection:
        row = connection.execute(question.encode()).fetchone()
    return "" if row is None else str(row[0])


def _tell(url: str, statement: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string()
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statement.encode())


def _processes_of(folder: Path) -> list[psutil.Process]:
    """Everything alive that was started with, or works in, this folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        told = [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
        is_ours = any(str(folder) in each for each in told) and process.pid != os.getpid()
        if is_ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def _wait_until_gone(folder: Path, seconds: float = 20) -> list[psutil.Process]:
    deadline = time.monotonic() + seconds
    while (left := _processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


_STARTER = """
import sys, time
from pathlib import Path
from adapters.db.embedded import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def starter(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has started the server of the folder."""
    command = [sys.executable, "-c", _STARTER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_it_speaks_postgresql_with_pgvector_over_a_socket_alone(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        assert _ask(server.url, "SHOW server_version").startswith("18")
        assert _ask(server.url, "SHOW listen_addresses") == ""
        assert _ask(server.url, "SHOW fsync") == "on"
        extension = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'"
        assert _ask(server.url, extension) == "1"
    assert _processes_of(folder) == []


def test_what_was_stored_is_there_at_the_next_start(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        _tell(server.url, "CREATE TABLE kept AS SELECT 7 AS seven")
    with EmbeddedPostgres(folder) as server:
        assert _ask(server.url, "SELECT seven FROM kept") == "7"


def test_a_second_user_attaches_and_only_the_starter_stops_it(folder: Path) -> None:
    with EmbeddedPostgres(folder) as first:
        with EmbeddedPostgres(folder) as second:
            assert (first.is_starter, second.is_starter) == (True, False)
            assert second.url == first.url
        assert _ask(first.url, "SELECT 1") == "1"


def test_of_several_at_once_one_starts_and_the_others_attach(folder: Path) -> None:
    everybody_has_looked = threading.Barrier(4)
    starters: list[bool] = []

    def use() -> None:
        with EmbeddedPostgres(folder) as server:
            starters.append(server.is_starter)
            everybody_has_looked.wait(60)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(starters) == [False, False, False, True]
    assert _processes_of(folder) == []


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_starter_however_that_ends(
    folder: Path, starter: "subprocess.Popen[str]", end: signal.Signals
) -> None:
    starter.send_signal(end)
    starter.wait()
    assert _wait_until_gone(folder) == []


def test_those_who_come_while_it_is_going_down_attach_or_start_it_anew(
    folder: Path, starter: "subprocess.Popen[str]"
) -> None:
    starter.kill()
    for _ in range(1000):
        with EmbeddedPostgres(folder) as server:
            if server.is_starter:
                assert _ask(server.url, "SELECT 1") == "1"
                return
    pytest.fail("the server outlives its starter")


def _server_pid(folder: Path) -> int:
    return int((folder / "cluster" / "postmaster.pid").read_text().split()[0])


def test_it_recovers_when_the_server_itself_was_killed(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        _tell(server.url, "CREATE TABLE recovered AS SELECT 7 AS seven")
        os.kill(_server_pid(folder), signal.SIGKILL)
        with EmbeddedPostgres(folder) as again:
            assert again.is_starter
            assert _ask(again.url, "SELECT seven FROM recovered") == "7"
    assert _wait_until_gone(folder) == []


def test_a_lock_file_whose_pid_somebody_else_has_now_is_no_obstacle(folder: Path) -> None:
    with EmbeddedPostgres(folder):
        lock_file = folder / "cluster" / "postmaster.pid"
        lines = lock_file.read_text().splitlines()
    lock_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with EmbeddedPostgres(folder) as server:
        assert server.is_starter
        assert _ask(server.url, "SELECT 1") == "1"


def test_a_folder_with_a_name_too_long_for_a_socket_works(new_folder: Path) -> None:
    long = new_folder.joinpath(*["a-folder-with-a-long-name-and-a-blank in-it"] * 4)
    with EmbeddedPostgres(long) as server:
        assert _ask(server.url, "SELECT 1") == "1"
        with EmbeddedPostgres(long) as second:
            assert not second.is_starter
        socket_dir = Path(str(make_url(server.url).query["host"]))
        assert len(str(socket_dir)) < 90
    assert not socket_dir.exists()


def test_a_start_that_was_interrupted_while_making_the_cluster_is_made_again(
    new_folder: Path,
) -> None:
    half_made = new_folder / "cluster.unfinished"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(new_folder) as server:
        assert _ask(server.url, "SELECT 1") == "1"
    assert not half_made.exists()


def test_a_cluster_that_cannot_start_is_told_of_and_leaves_no_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.db.embedded._ATTEMPTS", 1)
    with (
        pytest.raises(StorageUnavailableError, match=r"server\.log"),
        EmbeddedPostgres(folder, {"shared_buffers": "nonsense"}),
    ):
        pytest.fail("it started")
    assert _processes_of(folder) == []


def test_refused_statements_stay_out_of_the_servers_log(folder: Path) -> None:
    log_file = folder / "server.log"
    with EmbeddedPostgres(folder) as server:
        _tell(server.url, "CREATE TABLE people (name text PRIMARY KEY)")
        _tell(server.url, "INSERT INTO people VALUES ('Ada Canary')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            _tell(server.url, "INSERT INTO people VALUES ('Ada Canary')")
    log = log_file.read_text()
    assert "people_pkey" in log
    assert "Canary" not in log
