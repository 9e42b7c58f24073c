"""One child process of the supervisor: started in a session of its own, its output in a log file.

Knows how to start it, see that it lives and end it with all its descendants. Does not know what
the child does.
"""

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from adapters.assembly import guard
from clinical.errors import ClinicalError, OperationalError

_NUM_LOG_LINES = 15


class ChildDiedError(ClinicalError):
    """A process that should run has ended; the message holds the end of its log."""

    code = "process.child_died"


class NotReadyError(OperationalError):
    """A process was not ready in time; the message holds the end of its log."""

    code = "process.not_ready"


class Child:
    """A running process. `ready_option`, if any, is given the number of a file to write to when ready."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        ready_option: str = "",
    ) -> None:
        """Start it."""
        self.name = name
        self._log = log
        self._ready_file, theirs = os.pipe()
        extra = [ready_option, str(theirs)] if ready_option else []
        with log.open("ab") as output:
            self._log_start = output.tell()
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [*command, *extra],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor to answer
                pass_fds=(theirs,) if ready_option else (),
            )
        os.close(theirs)

    @property
    def session(self) -> int:
        """The session of the child and all its descendants."""
        return self.process.pid

    def require_alive(self) -> None:
        """Return if it lives.

        Raises:
            ChildDiedError
        """
        if self.process.poll() is not None:
            status = self.process.returncode
            ending = f"status {status}" if status >= 0 else f"signal {-status}"
            raise ChildDiedError(f"the {self.name} process ended ({ending}); {self._last_words()}")

    def has_said_ready(self) -> bool:
        """Whether it wrote to the file of its `ready_option`."""
        readable, _, _ = select.select([self._ready_file], [], [], 0)
        return bool(readable) and bool(os.read(self._ready_file, 1))

    def not_ready(self, seconds: float) -> NotReadyError:
        """What to raise when it did not get ready in time."""
        return NotReadyError(
            f"the {self.name} process was not ready within {seconds:.0f} s; {self._last_words()}"
        )

    def stop(self, grace_seconds: float) -> bool:
        """End it and every descendant; whether all went of themselves, as they were told."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_seconds)
        num_killed = guard.end(self.session, grace_seconds=1.0)
        self.process.wait()
        os.close(self._ready_file)
        return num_killed == 0

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(self._log_start, log.seek(0, os.SEEK_END) - 16_384))
            lines = log.read().decode(errors="replace").splitlines()[-_NUM_LOG_LINES:]
        ending = "\n  ".join(lines) if lines else "(nothing)"
        return f"the end of {self._log}:\n  {ending}"


def wait_until_ready(child: Child, is_ready: Callable[[], bool], timeout_seconds: float) -> None:
    """Return when it is ready.

    Raises:
        ChildDiedError, NotReadyError
    """
    deadline = time.monotonic() + timeout_seconds
    while not is_ready():
        child.require_alive()
        if time.monotonic() > deadline:
            raise child.not_ready(timeout_seconds)
        time.sleep(0.05)
