"""`clinical bench demo`: from the command to the first page that is served, in two situations.

In a checkout that is set up, `clinical demo`; in a fresh clone, `make demo`, which first creates the
environment. Everything that was started is stopped again.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from adapters.assembly import guard
from adapters.clock import SystemClock
from clinical.errors import OperationalError
from pipelines.evaluation.benchmark_file import FOLDER, BenchmarkRow, Better, measured
from pipelines.evaluation.timing import middle

COMMAND = "clinical bench demo"
GOAL_SET_UP_SECONDS, GOAL_CLEAN_CLONE_SECONDS = 30.0, 300.0
_PAGE = re.compile(r"http://[0-9.]+:[0-9]+")
_LONGEST_SECONDS = 1200.0
_STOP_SECONDS = 60.0
# Any free ports, so that a site that runs already is not in the way.
_ANY_PORTS = ("env", "CLINICAL_WEB_PORT=0", "CLINICAL_MODEL_PORT=0")


class NoPageError(OperationalError):
    """The demo ended, or took too long, without serving a page; the message holds its last words."""

    code = "evaluation.no_page"


def run(
    *, repetitions: int, is_clean_clone: bool, say: Callable[[str], None]
) -> list[BenchmarkRow]:
    """Measure; the rows `demo.set_up_s` and, if asked for, `demo.clean_clone_s`.

    Raises:
        NoPageError
    """
    rows = [_set_up_row(repetitions, say)]
    if is_clean_clone:
        rows.append(_clean_clone_row(say))
    return rows


def _set_up_row(repetitions: int, say: Callable[[str], None]) -> BenchmarkRow:
    seconds = []
    for number in range(repetitions):
        say(f"clinical demo, {number + 1} of {repetitions} …")
        with tempfile.TemporaryDirectory(prefix="clinical-bench-") as folder:
            program = (sys.executable, "-P", "-m", "pipelines", "demo")
            data_dir = ("--data-dir", str(Path(folder) / "data"))
            seconds.append(_seconds_to_page([*_ANY_PORTS, *program, *data_dir], Path(folder)))
    value, seen = middle(seconds)
    return measured(
        clock=SystemClock(),
        id="demo.set_up_s",
        value=value,
        unit="s",
        better=Better.LOWER,
        goal=GOAL_SET_UP_SECONDS,
        interval=seen,
        n=repetitions,
        command=COMMAND,
        note=(
            "From `clinical demo` with an empty data folder to the first page answered with 200; the "
            "sample patients are sent from then on. Median and range."
        ),
    )


def _clean_clone_row(say: Callable[[str], None]) -> BenchmarkRow:
    say("git clone and make demo …")
    with tempfile.TemporaryDirectory(prefix="clinical-bench-") as folder:
        clone = Path(folder) / "clone"
        began = time.perf_counter()
        subprocess.run(  # noqa: S603 - the words are ours
            [_program("git"), "clone", "--quiet", str(FOLDER), str(clone)], check=True
        )
        cloning = time.perf_counter() - began
        seconds = cloning + _seconds_to_page([*_ANY_PORTS, _program("make"), "demo"], clone)
    return measured(
        clock=SystemClock(),
        id="demo.clean_clone_s",
        value=seconds,
        unit="s",
        better=Better.LOWER,
        goal=GOAL_CLEAN_CLONE_SECONDS,
        n=1,
        command=COMMAND,
        note=(
            "From `git clone` through `make demo`, which creates the environment and installs into it "
            "by way of this machine's package index and cache, to the first page answered with 200."
        ),
    )


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NoPageError(f"{name} is not installed")
    return found


def _seconds_to_page(command: Sequence[str], folder: Path) -> float:
    """Run it until it has served a page, then stop it with all that it started."""
    output = folder / "bench-output.txt"
    began = time.perf_counter()
    with _running(command, folder, output) as process:
        while True:
            taken = time.perf_counter() - began
            page = _PAGE.search(output.read_text("utf-8", errors="replace"))
            if page and _is_served(page[0]):
                return time.perf_counter() - began
            if process.poll() is not None or taken > _LONGEST_SECONDS:
                last = output.read_text("utf-8", errors="replace")[-2000:]
                raise NoPageError(f"no page after {taken:.0f} s; the last words:\n{last}")
            time.sleep(0.02)


@contextmanager
def _running(
    command: Sequence[str], folder: Path, output: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    with output.open("wb") as told:
        process = subprocess.Popen(  # noqa: S603 - our own program
            list(command),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        # make hands the signal on only when the whole group gets it, as from a terminal.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        finally:
            guard.end(process.pid, grace_seconds=1.0)


def _is_served(url: str) -> bool:
    try:
        answer = httpx.get(url, timeout=5.0, trust_env=False, follow_redirects=True)
    except httpx.HTTPError:
        return False
    return answer.status_code == httpx.codes.OK
