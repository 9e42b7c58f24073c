"""Child processes: how they end, with everything that they started."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapters.assembly import guard
from adapters.assembly.child import Child, ChildDiedError, NotReadyError, wait_until_ready

# A child with a grandchild that ignores SIGTERM and has moved to a process group of its own.
STUBBORN = """
import os, signal, subprocess, sys, time
subprocess.Popen(
    [sys.executable, "-c", "import os, signal, time; os.setpgid(0, 0);"
     "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('born', flush=True); time.sleep(600)"]
)
time.sleep(600)
"""


def _child(tmp_path: Path, program: str, **more: str) -> Child:
    return Child(
        "sample",
        [sys.executable, "-c", program],
        environment={"PATH": "/usr/bin:/bin"},
        log=tmp_path / "sample.log",
        **more,
    )


def _wait_for_log(tmp_path: Path, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in (tmp_path / "sample.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_stopping_a_child_ends_every_descendant_even_one_that_will_not(tmp_path: Path) -> None:
    child = _child(tmp_path, STUBBORN)
    _wait_for_log(tmp_path, "born")
    assert len(guard.processes_of(child.session)) == 2
    assert child.stop(grace_seconds=5) is False
    assert guard.processes_of(child.session) == []


def test_a_child_that_died_is_told_of_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = _child(tmp_path, "print('no such table'); raise SystemExit(3)")
    child.process.wait(10)
    with pytest.raises(
        ChildDiedError, match=r"sample process ended \(status 3\)[\s\S]*no such table"
    ):
        child.require_alive()
    child.stop(grace_seconds=0.1)


def test_the_log_of_an_earlier_run_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "sample.log").write_text("an old story\n")
    child = _child(tmp_path, "raise SystemExit(1)")
    child.process.wait(10)
    with pytest.raises(ChildDiedError) as caught:
        child.require_alive()
    assert "old story" not in str(caught.value)
    child.stop(grace_seconds=0.1)


def test_a_child_says_that_it_is_ready_by_writing_to_the_file_it_was_given(tmp_path: Path) -> None:
    program = "import os, sys, time; os.write(int(sys.argv[2]), b'x'); time.sleep(600)"
    child = _child(tmp_path, program, ready_option="--ready-fd")
    wait_until_ready(child, child.has_said_ready, timeout_seconds=10)
    assert child.stop(grace_seconds=5) is True


def test_a_child_that_is_not_ready_in_time_is_an_error(tmp_path: Path) -> None:
    child = _child(tmp_path, "import time; time.sleep(600)", ready_option="--ready-fd")
    with pytest.raises(NotReadyError, match="not ready within 0 s"):
        wait_until_ready(child, child.has_said_ready, timeout_seconds=0.2)
    child.stop(grace_seconds=5)


def test_the_guard_ends_the_sessions_it_was_told_of_when_its_input_ends(tmp_path: Path) -> None:
    watch = subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__], stdin=subprocess.PIPE, text=True
    )
    kept, ended = _child(tmp_path, "import time; time.sleep(600)"), _child(tmp_path, STUBBORN)
    _wait_for_log(tmp_path, "born")
    watch.communicate(f"+{kept.session}\n+{ended.session}\n-{kept.session}\n", timeout=30)
    assert guard.processes_of(ended.session) == []
    assert guard.processes_of(kept.session) == [kept.process.pid]
    ended.process.wait()
    kept.stop(grace_seconds=5)
