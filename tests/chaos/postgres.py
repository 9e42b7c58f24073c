"""A PostgreSQL of the harness: its own child, waited for, killed and started again on the same data.

The lock file of a server that was killed and not waited for keeps its zombie's pid "alive", and a
port above 32767 may belong to somebody's outgoing connection by the time the server comes back.
"""

import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg

from adapters.db.server_account import account_for, programs
from tests.stack import free_ports

_START_SECONDS = 60.0
_SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "64MB",
    "jit": "off",
    "timezone": "UTC",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "unix_socket_directories": "",
}


class Postgres:
    """The server of a folder, on a port of its own; durable as in production."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """Nothing runs before `start`; `settings` are PostgreSQL's."""
        self.folder = folder
        self.port = free_ports(1)[0]
        self.settings = {**_SETTINGS, "listen_addresses": "127.0.0.1", **settings}
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._account = account_for(folder)

    @property
    def cluster(self) -> Path:
        return self.folder / "cluster"

    def url(self, port: int | None = None, host: str = "127.0.0.1") -> str:
        """As SQLAlchemy names it, on this port or through another one."""
        return f"postgresql+psycopg://postgres@{host}:{port or self.port}/clinical"

    def connect(self, database: str = "clinical") -> psycopg.Connection:
        """A connection around everything that stands between."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def start(self) -> None:
        """Start it, and wait until it takes connections; makes cluster and database if missing."""
        if not self.cluster.exists():
            self._initialise()
        deadline = time.monotonic() + _START_SECONDS
        self._launch()
        while not self._answers():
            assert self.process is not None
            if self.process.poll() is not None:  # backends of the killed one hold shared memory yet
                time.sleep(0.1)
                self._launch()
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()[-2000:]
            time.sleep(0.03)

    def kill(self) -> None:
        """End every process of it at once, as a power cut would."""
        assert self.process is not None
        victims = [psutil.Process(self.process.pid)]
        victims += victims[0].children(recursive=True)
        for each in victims:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait()
        psutil.wait_procs(victims[1:], timeout=10)

    def stop(self) -> None:
        """Fast shutdown; a kill where that hangs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def _launch(self) -> None:
        command: list[str | Path] = [programs() / "postgres", "-D", self.cluster]
        command += ["-c", f"port={self.port}"]
        command += [part for item in self.settings.items() for part in ("-c", "=".join(item))]
        with (self.folder / "server.log").open("ab") as log:
            self.process = self._account.launch(command, log)

    def _initialise(self) -> None:
        self.cluster.mkdir()
        self._account.own(self.cluster)
        command: list[str | Path] = [programs() / "initdb", "--username=postgres", "--auth=trust"]
        command += ["--encoding=UTF8", "--no-locale", "--pgdata", self.cluster]
        done = self._account.run(command)
        assert done.returncode == 0, done.stderr.decode()
        with (self.cluster / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.213.0.0/16 trust\n")

    def _answers(self) -> bool:
        try:
            with self.connect("postgres") as connection:
                held = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'clinical'")
                if held.fetchone() is None:
                    connection.execute("CREATE DATABASE clinical")
        except psycopg.OperationalError:
            return False
        return True
