"""Ends what a supervisor started when the supervisor itself was killed.

Run as a program beside the supervisor, which writes to its standard input: `+SESSION` for each
process session it starts, `-SESSION` for each that has ended. When the input ends, whatever is left
in those sessions is told to stop, and a moment later killed. It knows nothing else and imports the
standard library alone, so that it stays small.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

_GRACE_SECONDS = 3.0


def processes_of(session: int) -> list[int]:
    """The living processes of a session, wherever they moved within it."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # A name may hold spaces and brackets; what follows its last bracket is fields 3 and on.
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(stat.parent.name))
    return found


def end(session: int, grace_seconds: float) -> int:
    """Tell every process of the session to stop, then kill what is left; how many had to be killed.

    Where there is no `/proc` the process group of the same number is signalled blindly.
    """
    if not Path("/proc/self/stat").exists():
        return _end_group(session, grace_seconds)
    _signal(processes_of(session), signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while (left := processes_of(session)) and time.monotonic() < deadline:
        time.sleep(0.05)
    num_killed = len(left)
    while left:  # a process that forks while it is being killed gets another round
        _signal(left, signal.SIGKILL)
        time.sleep(0.02)
        left = processes_of(session)
    return num_killed


def _end_group(group: int, grace_seconds: float) -> int:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        time.sleep(grace_seconds)
        os.killpg(group, signal.SIGKILL)
        return 1
    return 0


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def main() -> None:
    """Watch standard input until it ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: set[int] = set()
    for line in sys.stdin:
        session = int(line[1:])
        (sessions.add if line.startswith("+") else sessions.discard)(session)
    for session in sessions:
        _signal(processes_of(session), signal.SIGTERM)
    for session in sessions:
        end(session, _GRACE_SECONDS)


if __name__ == "__main__":
    main()
