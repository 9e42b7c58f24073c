"""The whole system as a user starts it: `clinical up` in a folder, on free ports, found by its mark."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self
from uuid import uuid4

import httpx
import psutil

CLINICAL = (sys.executable, "-P", "-m", "pipelines")
_MARK = "CLINICAL_TEST_MARK"


class Started:
    """A command of ours, with everything that it starts marked by a variable in the environment."""

    def __init__(
        self,
        arguments: list[str],
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        prefix: Sequence[str] = (),
        program: Sequence[str] = CLINICAL,
    ) -> None:
        """Start it, by a command before it if one is named; its output goes to a file in the folder."""
        self.mark = uuid4().hex
        self.output = folder / f"{arguments[0]}-{self.mark[:6]}.log"
        self.environment = {
            "PATH": os.defpath,
            "PYTHONPATH": str(Path(__file__).parents[1]),  # the code beside these tests
            "HOME": str(folder),
            _MARK: self.mark,
            "CLINICAL_DATA_DIR": str(folder / "data"),
            "CLINICAL_WEB_PORT": "0",
            "CLINICAL_MODEL_PORT": "0",
            **(settings or {}),
        }
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*prefix, *program, *arguments],
                env=self.environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop(signal.SIGKILL if self.process.poll() is None else None)
        for process in self.alive():
            process.kill()

    def text(self) -> str:
        """What it has said so far."""
        return self.output.read_text()

    def wait_for(self, text: str, seconds: float = 120) -> str:
        """Return the output once the text is in it; fails when the command ends without saying it."""
        deadline = time.monotonic() + seconds
        while text not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)
        return self.text()

    def stop(self, number: signal.Signals | None = signal.SIGTERM, seconds: float = 90) -> int:
        """Signal it, wait for it; its exit status."""
        if number is not None and self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def alive(self) -> list[psutil.Process]:
        """Every living process that was started by it, whatever became of its parents."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def wait_until_none_is_alive(self, seconds: float) -> list[psutil.Process]:
        """What is still alive after at most so long."""
        deadline = time.monotonic() + seconds
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def named(self, word: str) -> list[psutil.Process]:
        """Those of its living processes that have this word among their arguments."""
        return [process for process in self.alive() if word in process.cmdline()]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            # The embedded database is started with an environment of its own; its folders tell.
            places = [process.cwd(), *process.cmdline()]
            is_its_database = any(
                self.environment["CLINICAL_DATA_DIR"] in place for place in places
            )
            return process.environ().get(_MARK) == self.mark or is_its_database
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Return when the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


@contextmanager
def up(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[tuple[Started, str]]:
    """A running site and the address of its page."""
    with Started(["up"], folder, settings) as started:
        said = started.wait_for("Serving on ")
        yield started, said.split("Serving on ")[1].split(";")[0]


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below the range of outgoing connections."""
    found: list[int] = []
    for port in random.Random(os.urandom(8)).sample(range(20_000, 32_000), 500):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def is_live(url: str) -> bool:
    """Whether a web process answers there."""
    try:
        return httpx.get(f"{url}/health/live", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def ready(url: str) -> dict[str, object]:
    """What the site says of its readiness."""
    answer: dict[str, object] = httpx.get(f"{url}/health/ready", timeout=10, trust_env=False).json()
    return answer
