"""A RabbitMQ of our own for a test: in a folder, on free ports, and gone afterwards."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from kombu.connection import Connection

from tests.stack import free_ports

# The program itself: the wrapper in the search path insists on the packaged folders and user.
_PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/rabbitmq/sbin/rabbitmq-server")
_START_SECONDS = 90.0


def program() -> str | None:
    """Where the server's program is, if it is installed."""
    return next((path for path in _PROGRAMS if Path(path).exists()), None)


class RabbitMq:
    """A broker that can be killed and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        """Nothing runs before `start`."""
        self._folder = folder
        self.port, self._dist_port, self._epmd_port = free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where workers connect."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = false\n"
        )
        executable = program()
        assert executable is not None
        with (self._folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                [executable],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            assert self._process.poll() is None, (self._folder / "output.log").read_text()
            assert time.monotonic() < deadline, (self._folder / "output.log").read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it, with the port mapper that Erlang started for it."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        epmd = shutil.which("epmd")
        if epmd is not None:
            command = [epmd, "-port", str(self._epmd_port), "-kill"]
            subprocess.run(
                command, env=self._environment(), capture_output=True, check=False, timeout=20
            )

    def depth(self, queue: str) -> int:
        """How many messages wait in a queue."""
        with Connection(self.url) as connection:
            declared = connection.default_channel.queue_declare(queue, passive=True)
            return int(declared.message_count)

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            with Connection(self.url, connect_timeout=2) as connection:
                connection.connect()
        except OSError:
            return False
        return True

    def _environment(self) -> dict[str, str]:
        folder = self._folder
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"clinical-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
            # Two busy schedulers are plenty for a test.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
