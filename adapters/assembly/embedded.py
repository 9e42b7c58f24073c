"""Web, worker and model as child processes on one machine, with an embedded PostgreSQL if none is named.

Wiring only: the children are the same three processes as in production. Nothing is restarted: when
one child dies, all are stopped and the error says which and why; restarting is for a service
manager. However this process ends, `kill -9` included, its children end with it (see `guard`).
"""

import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import httpx
from pydantic import SecretStr

from adapters import telemetry
from adapters.assembly import guard, keys
from adapters.assembly.child import Child, wait_until_ready
from adapters.assembly.database import database_url
from adapters.db.migrate import upgrade
from adapters.model_server.worker import is_ready as is_model_ready
from adapters.settings import Settings, environment
from clinical.errors import OperationalError, RejectedError

LOCAL_SITE = "local"
_READY_SECONDS = 180.0
# Web first, so that nothing new comes in; the model last, for the worker finishes what it began.
_GRACE_SECONDS = {"web": 10.0, "worker": 20.0, "model": 15.0}
_LOG = telemetry.logger(__name__)


class PortTakenError(OperationalError):
    """Something else listens on a port that the settings name."""

    code = "process.port_taken"


class AlreadyRunningError(RejectedError):
    """Another supervisor runs on the same data folder."""

    code = "process.already_running"


class ToldToStop(BaseException):
    """A signal asked this process to stop."""

    def __init__(self, number: int) -> None:
        """Keep which signal it was."""
        super().__init__(f"told to stop by signal {number}")
        self.number = number


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """How each child is started: the arguments of its program."""

    web: Sequence[str]
    worker: Sequence[str]
    model: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What runs: where to reach it, and the children to keep an eye on."""

    settings: Settings
    database_url: str
    children: dict[str, Child]

    @property
    def web_url(self) -> str:
        """Where the page is."""
        return f"http://{self.settings.web_host}:{self.settings.web_port}"

    @property
    def model_url(self) -> str:
        """Where the model answers."""
        return f"http://{self.settings.model_host}:{self.settings.model_port}"

    def wait_until_ready(self, *names: str) -> None:
        """Return when these children do what they are for.

        Raises:
            ChildDiedError, NotReadyError
        """
        tests = {
            "web": lambda: _answers(f"{self.web_url}/health/live"),
            "worker": self.children["worker"].has_said_ready,
            "model": lambda: is_model_ready(self.model_url),
        }
        for name in names:
            wait_until_ready(self.children[name], tests[name], _READY_SECONDS)

    def require_alive(self) -> None:
        """Return if every child lives; raises ChildDiedError."""
        for child in self.children.values():
            child.require_alive()

    def stand_by(self) -> None:
        """Stay until a signal (ToldToStop) or until a child dies (ChildDiedError)."""
        while True:
            self.require_alive()
            time.sleep(0.2)


@contextmanager
def running(
    commands: Commands,
    *,
    data_dir: Path | None = None,
    web_port: int | None = None,
    site: str = "",
    folder: str = "",
    checkpoint: Path | None = None,
) -> Iterator[Site]:
    """Start everything and stop it again, whatever happens in the block; children may not be ready yet.

    Arguments win over the settings; a `site` gets a webhook secret of its own. `folder` is one below
    the data folder of the settings, for data that must not mix with what else is there. Call it from
    the main thread: SIGINT, SIGTERM and SIGHUP raise ToldToStop in the block.

    Raises:
        AlreadyRunningError, PortTakenError, StorageUnavailableError
    """
    settings = Settings()
    chosen = {
        "data_dir": data_dir or settings.data_dir / folder,
        "web_port": web_port,
        "model_checkpoint": checkpoint,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    settings = _with_secrets(_with_places(settings.model_copy(update=given)), site)
    with ExitStack() as stack:
        stack.enter_context(alone_in(settings.data_dir))
        signals = stack.enter_context(_signals_raise())
        family = stack.enter_context(_family(settings, signals))
        # The model needs no database, and is the slowest to come up.
        family.start("model", commands.model, environment(**_as_strings(settings)))
        url = stack.enter_context(database_url(settings))
        # Stopped before the database, whose context was entered first of the two.
        stack.callback(family.stop, signals)
        upgrade(url)
        child_environment = environment(**_as_strings(settings), database_url=url)
        family.start("web", commands.web, child_environment)
        family.start("worker", commands.worker, child_environment, ready_option="--ready-fd")
        yield Site(settings=settings, database_url=url, children=family.children)


def _with_places(settings: Settings) -> Settings:
    """The settings with an absolute data folder and ports that are free; port 0 asks for any.

    Raises:
        PortTakenError
    """
    web = free_port(settings.web_host, settings.web_port, "CLINICAL_WEB_PORT")
    model = free_port(settings.model_host, settings.model_port, "CLINICAL_MODEL_PORT", but=web)
    places = {"data_dir": settings.data_dir.absolute(), "web_port": web, "model_port": model}
    return settings.model_copy(update=places)


def _with_secrets(settings: Settings, site: str) -> Settings:
    """The settings with a webhook secret for the site; where nobody has one, for a site `local`."""
    secrets = dict(settings.webhook_secrets)
    wanted = site or ("" if secrets or settings.sites_file else LOCAL_SITE)
    if wanted and wanted not in secrets:
        secrets[wanted] = [SecretStr(keys.webhook_secret(settings, wanted))]
    key = SecretStr(keys.session_key(settings).decode())
    return settings.model_copy(update={"webhook_secrets": secrets, "session_key": key})


def _as_strings(settings: Settings) -> dict[str, str]:
    """What the children must agree on, as their environment is to say it."""
    secrets = {
        site: [secret.get_secret_value() for secret in held]
        for site, held in settings.webhook_secrets.items()
    }
    assert settings.session_key is not None
    checkpoint = settings.model_checkpoint
    return ({} if checkpoint is None else {"model_checkpoint": str(checkpoint.absolute())}) | {
        "data_dir": str(settings.data_dir),
        "web_host": settings.web_host,
        "web_port": str(settings.web_port),
        "model_host": settings.model_host,
        "model_port": str(settings.model_port),
        "session_key": settings.session_key.get_secret_value(),
        "webhook_secrets": json.dumps(secrets),
    }


class _Family:
    """The children, known to the guard before they can have children of their own."""

    def __init__(self, logs: Path, watch: subprocess.Popen[str], signals: "_Signals") -> None:
        self.children: dict[str, Child] = {}
        self._logs = logs
        self._watch = watch
        self._signals = signals

    def start(
        self,
        name: str,
        command: Sequence[str],
        child_environment: dict[str, str],
        ready_option: str = "",
    ) -> None:
        with self._signals.held_back():
            child = Child(
                name,
                command,
                environment=child_environment,
                log=self._logs / f"{name}.log",
                ready_option=ready_option,
            )
            self._tell_guard(f"+{child.session}")
            self.children[name] = child

    def stop(self, signals: "_Signals") -> None:
        signals.ignore()
        for name in ("web", "worker", "model"):
            child = self.children.pop(name, None)
            if child is not None:
                if not child.stop(_GRACE_SECONDS[name]):
                    _LOG.warning("a process had to be killed", process=name)
                self._tell_guard(f"-{child.session}")

    def _tell_guard(self, line: str) -> None:
        assert self._watch.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # somebody killed the guard: only it is lost
            self._watch.stdin.write(f"{line}\n")
            self._watch.stdin.flush()


@contextmanager
def _family(settings: Settings, signals: "_Signals") -> Iterator[_Family]:
    logs = settings.data_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    watch = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-I", "-S", guard.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    family = _Family(logs, watch, signals)
    try:
        yield family
    finally:
        family.stop(signals)
        watch.communicate()


class _Signals:
    """Turns the first signal to stop into ToldToStop, at once or after what must not be cut short."""

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._is_held_back = False
        self._is_ignored = False
        self._received: int | None = None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if self._is_ignored or self._received is not None:
            return
        self._received = number
        if not self._is_held_back:
            raise ToldToStop(number)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        self._is_held_back = True
        try:
            yield
        finally:
            self._is_held_back = False
        if self._received is not None and not self._is_ignored:
            raise ToldToStop(self._received)

    def ignore(self) -> None:
        """From now on everything is being stopped anyway."""
        self._is_ignored = True


@contextmanager
def _signals_raise() -> Iterator[_Signals]:
    signals = _Signals()
    before = {number: signal.signal(number, signals.handle) for number in _Signals.numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def alone_in(data_dir: Path) -> Iterator[None]:
    """Nothing else runs on the data folder for as long as the block does; raises AlreadyRunningError."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "supervisor.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunningError(f"something already runs in {data_dir}") from error
        yield


def free_port(host: str, port: int, setting: str, *, but: int = 0) -> int:
    """The port if it is free, or any where it is 0.

    Raises:
        PortTakenError
    """
    if port:
        if not _can_bind(host, port):
            raise PortTakenError(f"port {port} of {host} is taken; choose another by {setting}")
        return port
    # Below the range of outgoing connections, one of which could otherwise come to own the port.
    candidates = random.Random(os.getpid()).sample(range(20_000, 32_000), 200)  # noqa: S311
    for candidate in candidates:
        if candidate != but and _can_bind(host, candidate):
            return candidate
    raise PortTakenError(f"no free port found on {host}")


def _can_bind(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False
